// Mouse, pen and fingers on the stage, as strokes, pans and zooms.
//
// One finger draws; a second one turns the stroke into a pinch. The middle button pans, and so does
// whatever `pans` says.

const STEP = 1.0015; // zoom a pixel of the wheel

export class Pointers {
  /**
   * actions: begin(x, y, event), move(points, event), end(), cancel() for strokes;
   * pan(dx, dy), zoom(factor, x, y), hover(x, y, event) or hover(null); pans(event): whether a
   * pointer pans instead of drawing.
   */
  constructor(stage, actions) {
    this.stage = stage;
    this.actions = actions;
    this.pointers = new Map();
    this.doing = null; // 'stroke', 'pan', 'pinch' or nothing
    stage.addEventListener('pointerdown', (event) => this.down(event));
    stage.addEventListener('pointermove', (event) => this.moved(event));
    stage.addEventListener('pointerup', (event) => this.up(event));
    stage.addEventListener('pointercancel', (event) => this.up(event, true));
    stage.addEventListener('pointerleave', () => actions.hover(null));
    stage.addEventListener('contextmenu', (event) => event.preventDefault());
    stage.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
  }

  place(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (event.target.closest('button, input, select, a, section, [role=slider], #notice')) return;
    event.preventDefault();
    document.activeElement?.blur?.();
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    if (this.pointers.size === 2) {
      if (this.doing === 'stroke') this.actions.cancel();
      this.doing = 'pinch';
    } else if (this.pointers.size === 1) {
      const [x, y] = this.place(event);
      this.doing = event.button === 1 || this.actions.pans(event) ? 'pan' : 'stroke';
      if (event.button === 2) this.doing = null;
      if (this.doing === 'stroke') this.actions.begin(x, y, event);
    }
  }

  moved(event) {
    const [x, y] = this.place(event);
    this.actions.hover(event.pointerType === 'touch' ? null : x, y, event);
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    if (this.doing === 'pinch') this.pinch(event.pointerId, [x, y]);
    this.pointers.set(event.pointerId, [x, y]);
    if (this.doing === 'pan') this.actions.pan(x - last[0], y - last[1]);
    if (this.doing === 'stroke') {
      const events = event.getCoalescedEvents?.() || [];
      this.actions.move((events.length ? events : [event]).map((one) => this.place(one)), event);
    }
  }

  pinch(id, now) {
    const [[, other] = []] = [...this.pointers].filter(([pointer]) => pointer !== id);
    const last = this.pointers.get(id);
    if (!other) return;
    const distance = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
    const middle = (point) => [(point[0] + other[0]) / 2, (point[1] + other[1]) / 2];
    const [before, after] = [middle(last), middle(now)];
    this.actions.pan(after[0] - before[0], after[1] - before[1]);
    this.actions.zoom(Math.max(1, distance(now)) / Math.max(1, distance(last)), ...after);
  }

  up(event, cancelled = false) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.doing === 'stroke') cancelled ? this.actions.cancel() : this.actions.end();
    // The finger that stays after a pinch does not draw.
    this.doing = this.pointers.size && this.doing === 'pinch' ? 'pinch' : null;
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    const by = Math.max(-300, Math.min(300, event.deltaY * lines * (event.ctrlKey ? 4 : 1)));
    this.actions.zoom(STEP ** -by, ...this.place(event));
  }
}
