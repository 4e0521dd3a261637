"""Makes the tab of the page where classes are taught."""

import base64
from collections.abc import Callable
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageOps
from torch import Tensor

from grapheme_pyg.demo.pad import make_pad, read_pad
from grapheme_pyg.demo.teaching import LONGEST_NAME, Answer, Lesson, folder_below, saved_below, to_digit
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import printable

HELP = """# Teach your own classes
Draw something, large, name it, and press Teach: about three drawings of each class. Draw again without teaching, and it
is recognised, or refused if it is unlike all of them. Undo takes back the last change. Reloading the page starts
anew."""
NO_CLASSES = "No classes yet."
# Changes that can be undone, one after another.
UNDOABLE = 20
# A live region must exist before its text does. With this role, screen readers finish what they are saying first.
SAYING = "element.setAttribute('role', 'status')"
CLASSES_SCRIPT = """
element.addEventListener('submit', event => {
  event.preventDefault();
  const form = event.target;
  trigger('class_renamed', {name: form.dataset.name, new: form.elements.new.value});
});
let deleting = false;
element.addEventListener('click', event => {
  const button = event.target.closest('[data-delete]');
  if (!button) return;
  deleting = true;
  trigger('class_deleted', {name: button.dataset.delete});
});
// The button that had the focus is gone.
watch('value', () => {
  if (deleting && document.activeElement === document.body) document.querySelector('#undo').focus();
  deleting = false;
});
"""
CSS = """
.pad {position: relative; width: min(100%, 360px); aspect-ratio: 1; overflow: hidden; border-radius: 8px;
  border: 2px solid var(--border-color-accent, #888)}
.pad canvas {width: 100%; height: 100%; background: white; touch-action: none; cursor: crosshair; display: block}
.pad canvas:focus-visible {outline: 3px solid #2563eb; outline-offset: -3px}
.pad .pen {position: absolute; width: 22px; height: 22px; margin: -11px; border-radius: 50%; pointer-events: none;
  border: 3px solid #2563eb; box-shadow: 0 0 0 2px white}
.pad .pen.down {background: #2563eb}
#pad-keys {font-size: var(--text-sm)}
/* Whoever draws with a finger needs the room for the answer; screen readers are still told. */
@media (pointer: coarse) {#pad-keys {position: absolute; clip-path: inset(50%); height: 1px; overflow: hidden}}
#teaching .html-container {padding: 0}
#teaching .block:has(> [role=status]:empty) {margin-bottom: calc(-1 * var(--layout-gap))}
#teaching button, #teaching input {min-height: 44px}
#teaching .html-container button, #teaching .html-container input {padding: 4px 14px;
  border-radius: 8px; border: 1px solid var(--input-border-color, #888); color: var(--body-text-color);
  background: var(--button-secondary-background-fill); font-size: 16px; margin: 0}
#teaching .html-container input {background: var(--input-background-fill); flex: 1 1 10em; min-width: 0;
  max-width: 14em}
/* Gradio takes the outline from fields. */
#teaching button:focus-visible, #teaching input:focus-visible {outline: 3px solid #2563eb !important;
  outline-offset: 1px}
#teaching .clear {margin-top: 6px !important}
#teaching .wrong {color: #b91c1c} .dark #teaching .wrong {color: #fca5a5}
#teaching .warned {color: #92400e} .dark #teaching .warned {color: #fcd34d}
#teaching .drawings {display: flex; flex-wrap: wrap; gap: 6px; margin: 6px 0; padding: 0; list-style: none}
#teaching .drawings li {margin: 0; font-size: var(--text-sm); text-align: center; width: 56px;
  overflow-wrap: anywhere}
#teaching .drawings :is(img, .blank) {width: 56px; height: 56px; margin: 0 auto; border-radius: 4px;
  border: 1px solid var(--border-color-primary); display: block}
#teaching .drawings .blank {border-style: dashed; line-height: 54px}
#teaching .taught {padding: 0; margin: 0; list-style: none}
#teaching .taught > li {margin: 0 0 16px; padding: 8px 0; border-top: 1px solid var(--border-color-primary)}
#teaching .taught h3 {margin: 0; text-align: left; overflow-wrap: anywhere}
#teaching .taught form {display: flex; flex-wrap: wrap; gap: 8px; align-items: center}
#teaching .label {font-size: 1.6em; font-weight: 600; text-align: left; overflow-wrap: anywhere}
"""


# The lesson after each change, with what was done; the first is the one before all of them.
History = list[tuple[str, Lesson]]


def make_teaching(model: ImageClassificationModel, base: Path) -> None:
    """Adds the components that teach classes to the Gradio context that is open.

    Each session has its own lesson.

    Args:
        model: Model that makes the keys of drawings. Its classes are left out.
        base: Folder in which models are saved, each in its own folder.
    """
    try:
        Lesson.of(model)
    except ValueError as error:
        gr.Markdown(f"This model cannot be taught. {escape(printable(str(error)))}")
        return

    def attempt(said: gr.HTML, action: Callable[[], dict[Any, Any]]) -> dict[Any, Any]:
        """Returns what an action changes on the page. If it fails, only the message in ``said`` changes."""
        try:
            return action()
        except gr.Error as error:
            return {said: saying(error.message, "wrong")}
        except (ValueError, OSError) as error:
            return {said: saying(str(error), "wrong")}

    def last(history: History | None) -> Lesson:
        return history[-1][1] if history else Lesson.of(model)

    def changes(history: History | None, done: str, lesson: Lesson) -> dict[Any, Any]:
        """Returns what a change of the classes changes on the page."""
        before = history or [("", Lesson.of(model))]
        return {state: [*before[-UNDOABLE:], (done, lesson)], classes: show_classes(lesson), answer: ""}

    def teach(history: History | None, drawing: str, name: str) -> dict[Any, Any]:
        def action() -> dict[Any, Any]:
            lesson = last(history).copy()
            warned = lesson.teach(name, to_digit(read_pad(drawing)))
            # Screen readers announce only changes. The count makes each message differ from the one before.
            owner = lesson.model.classes[int(lesson.memory.added[-1])]
            done = f"Taught {name.strip()}: {counted(lesson.examples()[owner])}."
            said = saying(f"{done} {warned}" if warned else done, "warned" if warned else "")
            return {**changes(history, done, lesson), taught: said, pad: ""}

        return attempt(taught, action)

    def recognise(history: History | None, drawing: str) -> dict[Any, Any]:
        def action() -> dict[Any, Any]:
            lesson = last(history)
            if not drawing or not lesson.drawings:
                return {answer: ""}
            return {answer: show_answer(lesson.recognise(to_digit(read_pad(drawing)))), taught: ""}

        return attempt(answer, action)

    def delete(history: History | None, event: gr.EventData) -> dict[Any, Any]:
        def action() -> dict[Any, Any]:
            (lesson := last(history).copy()).remove(str(event.name))
            done = f"Deleted {event.name}."
            return {**changes(history, done, lesson), changed: saying(f"{done} Undo brings it back.")}

        return attempt(changed, action)

    def rename(history: History | None, event: gr.EventData) -> dict[Any, Any]:
        def action() -> dict[Any, Any]:
            (lesson := last(history).copy()).rename(str(event.name), str(event.new))
            done = f"Renamed {event.name} to {str(event.new).strip()}."
            return {**changes(history, done, lesson), changed: saying(done)}

        return attempt(changed, action)

    def undo(history: History | None) -> dict[Any, Any]:
        if not history or len(history) == 1:
            return {changed: saying("There is nothing to undo.")}
        *before, (done, _) = history
        shown = {classes: show_classes(last(before)), changed: saying(f"Undone: {done}")}
        return {state: before, **shown, taught: "", answer: ""}

    def save(history: History | None, name: str | None) -> dict[Any, Any]:
        def action() -> dict[Any, Any]:
            last(history).save(where := folder_below(base, name or ""))
            return {filed: saying(f"Saved in {where}."), folder: gr.Dropdown(choices=saved_below(base), value=name)}

        return attempt(filed, action)

    def open_(history: History | None, name: str | None) -> dict[Any, Any]:
        def action() -> dict[Any, Any]:
            opened = Lesson.open(where := folder_below(base, name or ""))
            done = f"Opened {where}."
            return {**changes(history, done, opened), filed: saying(done), taught: "", changed: "", pad: ""}

        return attempt(filed, action)

    state = gr.State(None)
    with gr.Column(elem_id="teaching"):
        gr.Markdown(HELP)
        with gr.Row():
            with gr.Column(min_width=280):
                pad = make_pad("pad")
                name = gr.Textbox(label="Name of the class", max_length=LONGEST_NAME, max_lines=1, elem_id="class-name")
                button = gr.Button("Teach", variant="primary", elem_id="teach")
                taught = gr.HTML("", js_on_load=SAYING, elem_id="taught")
            with gr.Column(min_width=280):
                gr.Markdown("## Answer")
                answer = gr.HTML("", js_on_load=SAYING, elem_id="recognised")
                gr.Markdown("## Classes")
                changed = gr.HTML("", js_on_load=SAYING, elem_id="changed")
                undoer = gr.Button("Undo", elem_id="undo")
                classes = gr.HTML(f"<p>{NO_CLASSES}</p>", js_on_load=CLASSES_SCRIPT, elem_id="classes")
                gr.Markdown("## Save and open")
                folder = gr.Dropdown(
                    saved_below(base), value=None, allow_custom_value=True, label="Name of the model", elem_id="folder"
                )
                with gr.Row():
                    saver = gr.Button("Save", elem_id="save", min_width=120)
                    opener = gr.Button("Open", elem_id="open", min_width=120)
                filed = gr.HTML("", js_on_load=SAYING, elem_id="filed")
    outputs: list[gr.components.Component] = [state, pad, taught, answer, changed, classes, folder, filed]
    # Actions of all sessions run one after another, because warnings are caught for the whole process.
    options: dict[str, Any] = {
        "outputs": outputs,
        "show_progress": "hidden",
        "concurrency_limit": 1,
        "concurrency_id": "teaching",
        "api_visibility": "private",
    }
    pad.drawn(recognise, [state, pad], trigger_mode="always_last", **options)
    gr.on([button.click, name.submit], teach, [state, pad, name], **options)
    classes.class_deleted(delete, state, **options)
    classes.class_renamed(rename, state, **options)
    undoer.click(undo, state, **options)
    saver.click(save, [state, folder], **options)
    opener.click(open_, [state, folder], **options)


def saying(text: str, kind: str = "") -> str:
    """Returns a message on the page as HTML."""
    return f'<p class="{kind}" dir="auto">{shown(text)}</p>'


def shown(text: str) -> str:
    """Escapes a text from outside, so that HTML does not take any of it for markup."""
    return escape(printable(text))


def counted(drawings: list[Tensor | None]) -> str:
    """Returns the number of drawings with its noun, and how many examples have no picture."""
    missing = sum(drawing is None for drawing in drawings)
    said = "1 drawing" if len(drawings) == 1 else f"{len(drawings)} drawings"
    return f"{said}, {missing} without a picture" if missing else said


def picture(drawing: Tensor | None, description: str) -> str:
    """Returns a drawing as HTML, dark on white, or a question mark in its place."""
    if drawing is None:
        return f'<span class="blank" role="img" aria-label="{shown(description)}, without a picture">?</span>'
    ImageOps.invert(Image.fromarray(drawing.numpy())).save(file := BytesIO(), "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{shown(description)}" width="56" height="56">'


def show_answer(answer: Answer) -> str:
    """Returns the answer to a drawing as HTML."""
    if answer.label is None:
        said = '<p class="label">Not recognised</p>'
        why = f"Nothing that was taught is like it enough; {answer.likeliest} comes nearest. The drawing has"
    else:
        said = f'<p class="label" dir="auto">{shown(answer.label)}</p>'
        sure = "more than 99%" if answer.confidence > 0.99 else f"{answer.confidence:.0%}"
        why = f"It is {sure} sure, among the classes that were taught. The drawing has"
    why += f" a familiarity of {answer.familiarity:.2f}; from {answer.threshold:.2f} on, drawings are recognised."
    nearest = "".join(
        f'<li>{picture(drawing, f"Example of {name}")}<span dir="auto">{shown(name)}</span> {cosine:.2f}</li>'
        for name, drawing, cosine in answer.nearest
    )
    return f'{said}<p>{shown(why)}</p><p>Nearest examples, by cosine:</p><ul class="drawings">{nearest}</ul>'


def show_classes(lesson: Lesson) -> str:
    """Returns the classes and their examples as HTML, with controls that rename or delete each class."""
    entries = []
    for name, drawings in lesson.examples().items():
        raw, text = escape(name), shown(name)
        pictures = "".join(
            f"<li>{picture(drawing, f'Example {number} of {name}')}</li>"
            for number, drawing in enumerate(drawings, 1)
            if drawing is not None
        )
        entries.append(
            f'<li><h3 dir="auto">{text}</h3><span>{counted(drawings)}</span><ul class="drawings">{pictures}</ul>'
            f'<form data-name="{raw}"><input name="new" value="{raw}" maxlength="{LONGEST_NAME}" dir="auto"'
            f' aria-label="New name of {text}"><button aria-label="Rename {text}">Rename</button>'
            f'<button type="button" data-delete="{raw}" aria-label="Delete {text}">Delete</button></form></li>'
        )
    return f'<ul class="taught">{"".join(entries)}</ul>' if entries else f"<p>{NO_CLASSES}</p>"
