"""A model's answers to the tasks of a step, each kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from steep.evaluate.continuation import Task, shown
from steep.evaluate.few_shot import SEPARATOR
from steep.evaluate.results import Answer
from steep.evaluate.subject import Subject
from steep.generation import generate
from steep.terminal import progress
from steep.tokens import encode_prompts, text_ids

if TYPE_CHECKING:
    from steep.recipe.evaluate import Sampling


def answer_tasks(subject: Subject, step: str, tasks: Sequence[Task], options: Sampling) -> list[Answer]:
    """The answers in the order of the tasks; those that the ledger knows are not made again."""
    known = subject.ledger.known(step)
    todo = [number for number in range(len(tasks)) if number not in known]
    asked = [_own_tokens(subject, tasks[number]) for number in todo]
    answers = generate(
        subject.model,
        subject.tokenizer,
        [_prompt(subject, task) for task in asked],
        max_new_tokens=[task.limit for task in asked],
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
        batch_size=options.batch_size,
        prefix=subject.prefix,
        indices=todo,
    )
    with progress(step, total=len(tasks)) as update:
        update(len(known))
        for answer in answers:
            said = {"token_ids": answer.token_ids, "finished": answer.finished}
            subject.ledger.write(step, {answer.index: said})
            known[answer.index] = said
            update()
    return [_answer(subject, step, task, known[number]) for number, task in enumerate(tasks)]


def _own_tokens(subject: Subject, task: Task) -> Task:
    """The task as the model's tokenizer encodes it, where another one has cut it: the same text, and as much room."""
    if not subject.own_tokens:
        return task
    cut_by, tokenizer = subject.cut_by, subject.tokenizer
    ids = task.prompt_ids[task.prompt_ids[:1] == [cut_by.bos_token_id] :]
    prompt = cut_by.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    lengths = [len(text_ids([task.reference], one)[0]) for one in (cut_by, tokenizer)]
    return replace(
        task, prompt_ids=encode_prompts([prompt], tokenizer)[0], limit=max(1, task.limit - lengths[0] + lengths[1])
    )


def _prompt(subject: Subject, task: Task) -> list[int]:
    """Without BOS where examples stand before it, and cut on the left where they leave too little room for it.

    Only a continuation's prompt is: `choose_shots` leaves room for those that are not to be cut.
    """
    if not subject.prefix:
        return task.prompt_ids
    ids = task.prompt_ids[task.prompt_ids[:1] == [subject.tokenizer.bos_token_id] :]
    return ids[-max(1, subject.window - task.limit) :]


def _answer(subject: Subject, step: str, task: Task, said: dict[str, Any]) -> Answer:
    text, finished = shown(subject.tokenizer, said["token_ids"]), said["finished"]
    if subject.shots and subject.shots.ends_at_blank_line and SEPARATOR in text.lstrip():
        text, finished = text[: text.index(SEPARATOR, len(text) - len(text.lstrip()))], True
    return Answer(
        step=step,
        document=task.example,
        document_id=subject.examples[task.example].document_id,
        prompt=task.prompt,
        reference=task.reference,
        text=text,
        token_ids=said["token_ids"],
        finished=finished,
    )
