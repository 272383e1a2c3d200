// Where the image stands in the window: at which scale, and how far from the corner.

export const LARGEST = 8; // 800 %

export class View {
  constructor() {
    this.image = { width: 1, height: 1 };
    this.window = { width: 1, height: 1 };
    this.margins = { left: 0, top: 0, right: 0, bottom: 0 }; // that tools cover
    this.scale = 1; // pixels of the window (CSS pixels) a pixel of the image
    this.x = 0; // of the image's corner in the window
    this.y = 0;
    this.fitted = true;
  }

  get fittingScale() {
    const { left, top, right, bottom } = this.margins;
    const width = Math.max(40, this.window.width - left - right);
    const height = Math.max(40, this.window.height - top - bottom);
    return Math.min(width / this.image.width, height / this.image.height, LARGEST);
  }

  get smallest() {
    return Math.min(1, this.fittingScale) / 2;
  }

  /** Show the whole image. */
  fit() {
    const { left, top, right, bottom } = this.margins;
    this.scale = this.fittingScale;
    this.x = left + (this.window.width - left - right - this.image.width * this.scale) / 2;
    this.y = top + (this.window.height - top - bottom - this.image.height * this.scale) / 2;
    this.fitted = true;
  }

  resize(width, height, margins) {
    const [oldWidth, oldHeight] = [this.window.width, this.window.height];
    this.window = { width, height };
    this.margins = margins;
    if (this.fitted) return this.fit();
    this.x += (width - oldWidth) / 2;
    this.y += (height - oldHeight) / 2;
    this.keepInSight();
  }

  /** Zoom so that the image's point at (x, y) of the window stays there. */
  zoom(factor, x, y) {
    const scale = Math.min(LARGEST, Math.max(this.smallest, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.keepInSight();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.keepInSight();
  }

  /** Leave a part of the image in the window. */
  keepInSight() {
    const least = 60;
    const [width, height] = [this.image.width * this.scale, this.image.height * this.scale];
    this.x = Math.min(this.window.width - least, Math.max(least - width, this.x));
    this.y = Math.min(this.window.height - least, Math.max(least - height, this.y));
  }

  toImage(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }
}
