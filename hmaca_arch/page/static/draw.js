// Draw the image, and over it the mask, into two canvases that fill the window.

const TINT = [255, 56, 92, 96]; // red, green, blue, opacity of 255, of what is painted
const INNER = [255, 255, 255, 235]; // the outline, light inside and dark outside
const OUTER = [20, 20, 24, 190];
const MOST_DRAWN = 4e6; // pixels of the mask's layer, so that phones keep up

const SHADES = new Uint32Array(4);
new Uint8Array(SHADES.buffer).set([0, 0, 0, 0, ...TINT, ...INNER, ...OUTER]);

export class Painter {
  constructor(imageCanvas, maskCanvas) {
    this.image = imageCanvas.getContext('2d');
    this.mask = maskCanvas.getContext('2d');
    this.layer = document.createElement('canvas').getContext('2d');
  }

  resize(width, height) {
    this.ratio = window.devicePixelRatio || 1;
    for (const context of [this.image, this.mask]) {
      context.canvas.width = Math.round(width * this.ratio);
      context.canvas.height = Math.round(height * this.ratio);
    }
  }

  /**
   * Draw the image.
   * picture: {bitmap, width, height, transparent}; view: a View; result: null, or {bitmap, box} of
   * the restored pixels; split: the window's x from which the result is shown.
   */
  drawImage(picture, view, result, split) {
    const context = this.image;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    if (!picture) return;
    const scale = view.scale * this.ratio;
    context.imageSmoothingEnabled = scale < 2;
    context.imageSmoothingQuality = 'high';
    const width = picture.width * scale;
    const height = picture.height * scale;
    const [x, y] = [view.x * this.ratio, view.y * this.ratio];
    if (picture.transparent) {
      context.fillStyle = this.checks();
      context.fillRect(x, y, width, height);
    }
    context.drawImage(picture.bitmap, x, y, width, height);
    if (!result) return;
    const [top, left, bottom, right] = result.box;
    context.save();
    context.beginPath();
    context.rect(split * this.ratio, 0, context.canvas.width, context.canvas.height);
    context.clip();
    context.drawImage(
      result.bitmap, x + left * scale, y + top * scale, (right - left) * scale,
      (bottom - top) * scale);
    context.restore();
  }

  /** A pattern of squares, which stands for what is transparent. */
  checks() {
    if (!this.pattern) {
      const tile = document.createElement('canvas');
      tile.width = tile.height = 16;
      const context = tile.getContext('2d');
      context.fillStyle = '#c9c9c9';
      context.fillRect(0, 0, 16, 16);
      context.fillStyle = '#ffffff';
      context.fillRect(0, 0, 8, 8);
      context.fillRect(8, 8, 8, 8);
      this.pattern = this.image.createPattern(tile, 'repeat');
    }
    return this.pattern;
  }

  /** Draw the mask, and the outline of a shape that is being drawn: points of the image. */
  drawMask(mask, view, shape) {
    const context = this.mask;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    if (!mask) return;
    const pixels = context.canvas.width * context.canvas.height;
    const share = Math.min(1, Math.sqrt(MOST_DRAWN / pixels));
    this.drawLayer(mask, view, this.ratio * share, share);
    if (shape) this.drawShape(shape, view);
  }

  /** Draw what is painted. ratio: pixels of the layer a CSS pixel; share: of the canvas's pixels. */
  drawLayer(mask, view, ratio, share) {
    const scale = view.scale * ratio;
    const [x0, y0] = [view.x * ratio, view.y * ratio];
    const canvas = this.mask.canvas;
    const left = Math.max(0, Math.floor(x0 + mask.bounds[0] * scale) - 1);
    const top = Math.max(0, Math.floor(y0 + mask.bounds[1] * scale) - 1);
    const right = Math.min(canvas.width * share, Math.ceil(x0 + mask.bounds[2] * scale) + 1);
    const bottom = Math.min(canvas.height * share, Math.ceil(y0 + mask.bounds[3] * scale) + 1);
    const [width, height] = [Math.ceil(right - left), Math.ceil(bottom - top)];
    if (!(width > 0 && height > 0)) return;
    const inside = sample(mask, width, height, (x) => (left + x + 0.5 - x0) / scale,
      (y) => (top + y + 0.5 - y0) / scale);
    const layer = this.layer;
    if (layer.canvas.width < width) layer.canvas.width = width;
    if (layer.canvas.height < height) layer.canvas.height = height;
    layer.putImageData(shade(inside, width, height), 0, 0);
    this.mask.imageSmoothingEnabled = share < 1;
    this.mask.drawImage(
      layer.canvas, 0, 0, width, height, left / share, top / share, width / share,
      height / share);
  }

  drawShape(points, view) {
    const context = this.mask;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.beginPath();
    for (const [x, y] of points) context.lineTo(view.x + x * view.scale, view.y + y * view.scale);
    context.closePath();
    context.fillStyle = `rgba(${TINT[0]}, ${TINT[1]}, ${TINT[2]}, 0.25)`;
    context.fill();
    for (const [width, colour] of [[3, 'rgba(20, 20, 24, 0.7)'], [1.25, '#fff']]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.stroke();
    }
  }
}

/** The mask's values at the pixels of a part of the window, with a border of one pixel. */
function sample(mask, width, height, toX, toY) {
  const columns = new Int32Array(width + 2);
  for (let x = 0; x < width + 2; x++) {
    const column = Math.floor(toX(x - 1));
    columns[x] = column >= 0 && column < mask.width ? column : -1;
  }
  const inside = new Uint8Array((width + 2) * (height + 2));
  for (let y = 0; y < height + 2; y++) {
    const row = Math.floor(toY(y - 1));
    if (row < 0 || row >= mask.height) continue;
    const from = row * mask.width;
    const to = y * (width + 2);
    for (let x = 0; x < width + 2; x++) {
      if (columns[x] >= 0) inside[to + x] = mask.data[from + columns[x]];
    }
  }
  return inside;
}

/** Colour what is inside, and its outline. */
function shade(inside, width, height) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const line = width + 2;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = (y + 1) * line + x + 1;
      const around = inside[i - 1] + inside[i + 1] + inside[i - line] + inside[i + line];
      if (inside[i]) pixels[y * width + x] = SHADES[around === 4 ? 1 : 2];
      else if (around) pixels[y * width + x] = SHADES[3];
    }
  }
  return image;
}
