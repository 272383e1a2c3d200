// The painted region, a byte a pixel of the image, with what changes it and what undoes that.
//
// Coordinates are in pixels of the image; pixel (x, y) covers the square from (x, y) to
// (x + 1, y + 1) and is painted if its centre is inside the shape.

const MOST_REMEMBERED = 256 << 20; // bytes that can be undone

/** A box [left, top, right, bottom); empty where right <= left. */
const EMPTY = [Infinity, Infinity, -Infinity, -Infinity];

function union(a, b) {
  return [
    Math.min(a[0], b[0]),
    Math.min(a[1], b[1]),
    Math.max(a[2], b[2]),
    Math.max(a[3], b[3]),
  ];
}

export class Mask {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.data = new Uint8Array(width * height);
    this.bounds = EMPTY; // around all that is painted, or larger
    this.count = 0; // painted pixels, as of the last change that was finished
    this.undone = [];
    this.done = [];
    this.before = null;
    this.touched = EMPTY;
  }

  get isEmpty() {
    return this.count === 0;
  }

  // A change begins, touches pixels, and is finished or taken back.

  begin() {
    this.before = this.data.slice();
    this.touched = EMPTY;
  }

  cancel() {
    if (!this.before) return;
    this.data = this.before;
    this.before = null;
    this.measure();
  }

  finish() {
    if (!this.before) return;
    const box = this.clip(this.touched);
    const old = this.copy(this.before, box);
    this.before = null;
    if (old.every((value, i) => value === this.at(box, i))) return;
    this.done.push({ box, pixels: old });
    this.undone = [];
    let bytes = 0;
    for (let i = this.done.length - 1; i >= 0; i--) {
      bytes += this.done[i].pixels.length;
      if (bytes > MOST_REMEMBERED && i < this.done.length - 1) {
        this.done.splice(0, i + 1);
        break;
      }
    }
    this.measure();
  }

  undo() {
    this.swap(this.done, this.undone);
  }

  redo() {
    this.swap(this.undone, this.done);
  }

  swap(from, to) {
    const change = from.pop();
    if (!change) return;
    const { box, pixels } = change;
    to.push({ box, pixels: this.copy(this.data, box) });
    const width = box[2] - box[0];
    for (let y = box[1]; y < box[3]; y++) {
      const start = (y - box[1]) * width;
      this.data.set(pixels.subarray(start, start + width), y * this.width + box[0]);
    }
    this.measure();
  }

  /** Find what is painted, and how much. */
  measure() {
    let [left, top, right, bottom] = [this.width, this.height, 0, 0];
    let count = 0;
    for (let y = 0; y < this.height; y++) {
      const row = this.data.subarray(y * this.width, (y + 1) * this.width);
      const first = row.indexOf(1);
      if (first < 0) continue;
      const last = row.lastIndexOf(1);
      for (let x = first; x <= last; x++) count += row[x];
      left = Math.min(left, first);
      right = Math.max(right, last + 1);
      top = Math.min(top, y);
      bottom = y + 1;
    }
    this.count = count;
    this.bounds = count ? [left, top, right, bottom] : EMPTY;
  }

  // Shapes. value: 1 paints, 0 erases.

  /** A stroke of a round brush from one point to another. */
  stroke(x0, y0, x1, y1, radius, value) {
    const box = this.touch([
      Math.min(x0, x1) - radius,
      Math.min(y0, y1) - radius,
      Math.max(x0, x1) + radius + 1,
      Math.max(y0, y1) + radius + 1,
    ]);
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = dx * dx + dy * dy || 1;
    const limit = radius * radius;
    for (let y = box[1]; y < box[3]; y++) {
      for (let x = box[0]; x < box[2]; x++) {
        const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
        const along = Math.min(1, Math.max(0, (px * dx + py * dy) / length));
        const [ox, oy] = [px - along * dx, py - along * dy];
        if (ox * ox + oy * oy <= limit) this.data[y * this.width + x] = value;
      }
    }
    // A brush of less than a pixel still paints the pixel under it.
    for (const [x, y] of [[x0, y0], [x1, y1]]) this.dot(Math.floor(x), Math.floor(y), value);
  }

  dot(x, y, value) {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return;
    this.touch([x, y, x + 1, y + 1]);
    this.data[y * this.width + x] = value;
  }

  /** All pixels that a rectangle between two corners touches. */
  rectangle(x0, y0, x1, y1, value) {
    const box = this.touch([
      Math.min(x0, x1),
      Math.min(y0, y1),
      Math.max(x0, x1),
      Math.max(y0, y1),
    ]);
    for (let y = box[1]; y < box[3]; y++) this.fillRow(y, box[0], box[2], value);
  }

  /** The inside of a polygon; where it crosses itself, by the even-odd rule. */
  polygon(points, value) {
    const xs = points.map((point) => point[0]);
    const ys = points.map((point) => point[1]);
    const reach = (values) => values.reduce(
      ([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
    const [left, right] = reach(xs);
    const [top, bottom] = reach(ys);
    const box = this.touch([left, top, right + 1, bottom + 1]);
    for (let y = box[1]; y < box[3]; y++) {
      const level = y + 0.5;
      const crossings = [];
      for (let i = 0; i < points.length; i++) {
        const [ax, ay] = points[i];
        const [bx, by] = points[(i + 1) % points.length];
        if (ay <= level === by <= level) continue;
        crossings.push(ax + ((level - ay) / (by - ay)) * (bx - ax));
      }
      crossings.sort((a, b) => a - b);
      for (let i = 0; i + 1 < crossings.length; i += 2) {
        this.fillRow(y, Math.ceil(crossings[i] - 0.5), Math.ceil(crossings[i + 1] - 0.5), value);
      }
    }
  }

  /** Grow by a distance in pixels, or shrink where it is negative. */
  grow(by) {
    const value = by > 0 ? 1 : 0;
    const reach = Math.abs(by);
    const source = this.data.slice();
    const box = this.touch([
      this.bounds[0] - reach,
      this.bounds[1] - reach,
      this.bounds[2] + reach,
      this.bounds[3] + reach,
    ]);
    for (let y = box[1]; y < box[3]; y++) {
      for (let x = box[0]; x < box[2]; x++) {
        if (source[y * this.width + x] === value && this.isBorder(source, x, y)) {
          this.disc(x, y, reach, value);
        }
      }
    }
  }

  /** Whether a neighbour of a pixel differs from it. Beyond the image there is nothing to differ. */
  isBorder(source, x, y) {
    const i = y * this.width + x;
    const here = source[i];
    return (
      (x > 0 && source[i - 1] !== here) ||
      (x < this.width - 1 && source[i + 1] !== here) ||
      (y > 0 && source[i - this.width] !== here) ||
      (y < this.height - 1 && source[i + this.width] !== here)
    );
  }

  /** All pixels at most `reach` away from a pixel. */
  disc(x, y, reach, value) {
    const first = Math.max(0, y - reach);
    const last = Math.min(this.height - 1, y + reach);
    for (let row = first; row <= last; row++) {
      const half = Math.floor(Math.sqrt(reach * reach - (row - y) * (row - y)));
      this.fillRow(row, x - half, x + half + 1, value);
    }
  }

  clear() {
    this.touch([0, 0, this.width, this.height]);
    this.data.fill(0);
  }

  invert() {
    this.touch([0, 0, this.width, this.height]);
    for (let i = 0; i < this.data.length; i++) this.data[i] ^= 1;
  }

  /** Paint what another mask of the same size has. */
  add(data) {
    this.touch([0, 0, this.width, this.height]);
    for (let i = 0; i < data.length; i++) this.data[i] |= data[i];
  }

  // Boxes

  fillRow(y, from, to, value) {
    const [left, right] = [Math.max(0, from), Math.min(this.width, to)];
    if (right > left) this.data.fill(value, y * this.width + left, y * this.width + right);
  }

  clip(box) {
    return [
      Math.max(0, Math.floor(box[0])),
      Math.max(0, Math.floor(box[1])),
      Math.min(this.width, Math.ceil(box[2])),
      Math.min(this.height, Math.ceil(box[3])),
    ];
  }

  /** Note that a box changes; returns it, clipped to the image. */
  touch(box) {
    const clipped = this.clip(box);
    if (clipped[2] > clipped[0] && clipped[3] > clipped[1]) {
      this.touched = union(this.touched, clipped);
      this.bounds = union(this.bounds, clipped);
    }
    return clipped;
  }

  copy(data, box) {
    const width = Math.max(0, box[2] - box[0]);
    const pixels = new Uint8Array(width * Math.max(0, box[3] - box[1]));
    for (let y = box[1]; y < box[3]; y++) {
      const start = y * this.width + box[0];
      pixels.set(data.subarray(start, start + width), (y - box[1]) * width);
    }
    return pixels;
  }

  /** The pixel that is number i of a box. */
  at(box, i) {
    const width = box[2] - box[0];
    return this.data[(box[1] + Math.floor(i / width)) * this.width + box[0] + (i % width)];
  }
}
