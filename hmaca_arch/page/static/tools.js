// What is painted with: brush, eraser, rectangle and lasso.

const SIZES = [1, 2000]; // pixels of the image
const NEAR = 2; // pixels of the window between points of a lasso

export class Tools {
  constructor() {
    this.tool = 'brush';
    this.size = 40; // diameter, in pixels of the image
    this.subtract = false; // for rectangle and lasso
    this.shape = null; // points of what is being drawn
  }

  get isRound() {
    return this.tool === 'brush' || this.tool === 'eraser';
  }

  setSize(size) {
    this.size = Math.min(SIZES[1], Math.max(SIZES[0], size));
    if (this.size >= 3) this.size = Math.round(this.size);
  }

  // The slider's positions are logarithms of sizes.

  get position() {
    return (100 * Math.log(this.size / SIZES[0])) / Math.log(SIZES[1] / SIZES[0]);
  }

  sizeAt(position) {
    return SIZES[0] * (SIZES[1] / SIZES[0]) ** (position / 100);
  }

  begin(mask, point, erases) {
    mask.begin();
    this.value = this.tool === 'eraser' || erases || (!this.isRound && this.subtract) ? 0 : 1;
    this.shape = [point];
    if (this.isRound) mask.stroke(...point, ...point, this.size / 2, this.value);
  }

  move(mask, point, scale) {
    if (!this.shape) return;
    const last = this.shape[this.shape.length - 1];
    if (this.isRound) {
      mask.stroke(...last, ...point, this.size / 2, this.value);
      this.shape = [point];
    } else if (this.tool === 'rectangle') {
      const [x, y] = this.shape[0];
      this.shape = [[x, y], [point[0], y], point, [x, point[1]]];
    } else if (Math.hypot(point[0] - last[0], point[1] - last[1]) * scale >= NEAR) {
      this.shape.push(point);
    }
  }

  end(mask) {
    if (!this.shape) return;
    if (this.tool === 'rectangle' && this.shape.length === 4) {
      mask.rectangle(...this.shape[0], ...this.shape[2], this.value);
    } else if (this.tool === 'lasso' && this.shape.length > 2) {
      mask.polygon(this.shape, this.value);
    }
    this.shape = null;
    mask.finish();
  }

  cancel(mask) {
    this.shape = null;
    mask.cancel();
  }

  /** The outline to show while a rectangle or a lasso is drawn. */
  get outline() {
    return this.isRound ? null : this.shape;
  }
}
