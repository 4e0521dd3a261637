"""The pad is a canvas for mouse, finger, pen and keyboard. Gradio's sketchpad does not support the keyboard."""

import base64
import binascii

import gradio as gr
from PIL import Image

from grapheme_pyg.demo.drawing import decoded, to_image

PREFIX = "data:image/png;base64,"
KEYS = "With the keyboard: arrow keys move the pen, Space puts it down and lifts it, Delete clears."
# The canvas has 280 pixels. Strokes are as wide, relative to that, as on the canvas of the other tab.
TEMPLATE = f"""
<div class="pad">
  <canvas width="280" height="280" tabindex="0" role="application" aria-label="Drawing" aria-describedby="pad-keys">
  </canvas>
  <div class="pen" hidden></div>
</div>
<p id="pad-keys">{KEYS} <span class="pen-state" role="status"></span></p>
<button type="button" class="clear">Clear</button>
"""
SCRIPT = """
const find = name => element.querySelector(name);
const [canvas, pen, state] = ['canvas', '.pen', '.pen-state'].map(find);
const context = canvas.getContext('2d'), side = canvas.width;
Object.assign(context, {lineWidth: 22, lineCap: 'round', lineJoin: 'round'});
let at = [side / 2, side / 2], empty = true, down = false, byPointer = false;

const line = to => {
  context.beginPath();
  context.moveTo(...at);
  context.lineTo(...to);
  context.stroke();
  [at, empty] = [to, false];
};
const send = () => {
  props.value = empty ? '' : canvas.toDataURL();
  trigger('drawn');
};
const wipe = () => {
  context.clearRect(0, 0, side, side);
  [at, empty, down, byPointer] = [[side / 2, side / 2], true, false, false];
  show(false);
};
const show = visible => {
  pen.hidden = !visible;
  pen.classList.toggle('down', down);
  [pen.style.left, pen.style.top] = at.map(x => `${100 * x / side}%`);
  state.textContent = visible ? (down ? 'Pen is down.' : 'Pen is up.') : '';
};
const place = event => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * side / box.width, (event.clientY - box.top) * side / box.height];
};

canvas.addEventListener('pointerdown', event => {
  if (!event.isPrimary || event.button) return;
  event.preventDefault();
  canvas.focus({preventScroll: true});
  canvas.setPointerCapture(event.pointerId);
  [at, byPointer, down] = [place(event), true, false];
  show(false);
  line(at);
});
canvas.addEventListener('pointermove', event => {
  if (!byPointer || !event.isPrimary) return;
  const moves = event.getCoalescedEvents?.() ?? [];
  (moves.length ? moves : [event]).forEach(each => line(place(each)));
});
for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, event => {
  if (!byPointer || !event.isPrimary) return;
  byPointer = false;
  send();
});
const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
canvas.addEventListener('keydown', event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key in moves) {
    const to = moves[event.key].map((d, k) => Math.min(side, Math.max(0, at[k] + (event.shiftKey ? 30 : 10) * d)));
    down ? line(to) : at = to;
  } else if (event.key === ' ' && !event.repeat) {
    down = !down;
    down ? line(at) : send();
  } else if (event.key === 'Delete') {
    wipe();
    send();
  } else if (event.key !== ' ') return;
  event.preventDefault();
  show(true);
});
canvas.addEventListener('blur', () => {
  const drawing = down;
  down = false;
  show(false);
  if (drawing) send();
});
find('.clear').addEventListener('click', () => { wipe(); send(); });
// The page empties it once a drawing is taught, and the next one can follow.
watch('value', () => {
  if (props.value) return;
  wipe();
  canvas.focus({preventScroll: true});
});
"""


def make_pad(name: str) -> gr.HTML:
    """Makes a canvas. Each stroke triggers ``drawn``.

    Its value is a PNG as a ``data:`` URL, or empty if nothing is drawn.

    Args:
        name: Id of the canvas on the page.
    """
    return gr.HTML("", html_template=TEMPLATE, js_on_load=SCRIPT, elem_id=name)


def read_pad(value: str | None) -> Image.Image | None:
    """Returns the drawing on the canvas, dark on white, or None if nothing is drawn.

    Args:
        value: Value of the canvas. It is not trusted, because any program can send it.

    Raises:
        gradio.Error: The value is not a PNG as a ``data:`` URL, or the image has more than 2²⁰ pixels.
    """
    if not value:
        return None
    try:
        if not isinstance(value, str) or not value.startswith(PREFIX):
            raise ValueError("no PNG")
        content = base64.b64decode(value[len(PREFIX) :], validate=True)
    except (ValueError, binascii.Error) as error:
        raise gr.Error("drawing: expected a PNG as a data URL, got something else", print_exception=False) from error
    return to_image({"background": decoded(content), "layers": []})
