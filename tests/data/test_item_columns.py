"""Which column of a table names the items."""
import pytest

from common.data.answers import read_answers
from common.system.errors import UserError


def asked(images, questions, workers):
    """A table with an answer of each of the workers to each question about each image."""
    return "image,question,worker,answer\n" + "".join(
        f"{image}.png,q{question}?,w{worker},{'ab'[(image + question + worker) % 2]}\n"
        for image in range(images) for question in range(questions) for worker in workers(image))


@pytest.mark.parametrize("workers", [lambda image: range(3), lambda image: [image]])
def test_questions_about_images(write, workers):
    file = write(asked(6, 4, workers))
    with pytest.raises(UserError, match="'image' differs within a 'question'; if both name an item: --columns "
                                        "image.question worker answer; if the question alone: --columns question worker"):
        read_answers(file)
    assert len(read_answers(file, columns=["image+question", "worker", "answer"]).items) == 24
    assert len(read_answers(file, columns=["question", "worker", "answer"], duplicates="count").items) == 4


def test_one_question_about_images(write, capsys):
    assert len(read_answers(write(asked(6, 1, lambda image: range(3)))).items) == 6
    assert "'image' names the items, as there is one 'question'" in capsys.readouterr().out


def test_comments_are_no_part_of_an_item(write):
    rows = [(f"q{k}?", f"w{w}", "ab"[(k + w) % 2], f"because {k % 7}" * (w < 2)) for k in range(20) for w in range(5)]
    file = write("question,worker,answer,text\n" + "".join(",".join(row) + "\n" for row in rows))
    assert len(read_answers(file).items) == 20


def test_a_question_of_its_own_for_each_image(write):
    file = write("image,question,worker,answer\n" + "".join(f"{k}.png,q{k}?,w{w},{'ab'[k % 2]}\n" for k in range(6)
                                                            for w in range(3)))
    assert len(read_answers(file).items) == 6
