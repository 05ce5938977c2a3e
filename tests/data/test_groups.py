"""--groups: items of one group are never on both sides of a fold."""
import numpy as np
import pytest
import torch

from common.crowd.labels import CrowdLabels
from common.data.dataset import Items
from common.data.groups import read_groups
from common.data.sources import Source
from common.system.errors import UserError
from common.training.selection import make_plan
from conftest import load_script
from OwnData.options import OwnOptions

MAIN = load_script("OwnData")


def items(groups, copies=1):
    count = len(groups) * copies
    crowd = CrowdLabels.from_triples(np.arange(count), np.arange(count) % 2, np.arange(count) // copies % 2, count, 2, 2)
    return Items(None, torch.full((count,), -1), [str(k) for k in range(count)], crowd, copies,
                 groups=torch.tensor(groups).repeat_interleave(copies))


@pytest.mark.parametrize("how", [{"folds": 4}, {"folds": 2}, {"held_out": .3}, {}])
@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_divided(how, seed):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 30, 200) * 7
    plan = make_plan(items(groups.tolist()), OwnOptions(select="crowd", seed=seed, **how))
    for fold in plan.folds:
        inside = set(groups[fold.train.numpy()])
        outside = set(range(200)) - set(fold.train.tolist())
        assert outside and not inside & set(groups[list(outside)])
    sizes = [200 - len(fold.train) for fold in plan.folds]
    assert max(sizes) - min(sizes) <= 25  # about the same size
    if "held_out" in how:
        assert 60 <= sizes[0] <= 80
    assert plan.held_out.sum() == sum(sizes)


def test_copies_stay_with_their_image():
    plan = make_plan(items([0, 0, 1, 1, 2, 2, 3, 3], copies=3), OwnOptions(select="crowd", folds=2))
    for fold in plan.folds:
        assert len(fold.train) == 12 and len({k // 6 for k in fold.train.tolist()}) == 2


def test_too_few_groups():
    with pytest.raises(UserError, match="--folds 3: the training items have 2 groups .--groups.; expected 3 or more"):
        make_plan(items([0, 1] * 10), OwnOptions(select="crowd", folds=3))


def source(names):
    return Source("texts", "t.csv", list(names), list(names), [])


def test_an_item_without_a_group_is_one_of_its_own(tmp_path):
    (tmp_path / "g.csv").write_text("item,group\na,\nb,x\nc,\nd,x\n")
    groups = read_groups(str(tmp_path / "g.csv"), source("abcde")).tolist()
    assert groups[1] == groups[3] and len(set(groups)) == 4


@pytest.mark.parametrize("table", ["item,group\na,x\nb,y\nc,x\n", "patient,file\nx,a\ny,b\nx,c\n",
                                   "id,ward\na,x\nb,y\nc,x\n"])
def test_tables_of_groups(tmp_path, table):
    (tmp_path / "g.csv").write_text(table)
    a, b, c, d = read_groups(str(tmp_path / "g.csv"), source("abcd")).tolist()
    assert a == c and len({a, b, d}) == 3  # d is a group of its own
    assert read_groups(None, source("abcd")) is None


@pytest.mark.parametrize(("table", "message"), [
    ("item,group\na,x\nz,y\n", "line 3: item 'z', which is not in --texts t.csv"),
    ("item,group\na,x\na,y\n", "'a' in two groups; expected one"), ("a,b,c\n1,2,3\n", "columns a, b, c; expected item and")])
def test_bad_groups(tmp_path, table, message):
    (tmp_path / "g.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        read_groups(str(tmp_path / "g.csv"), source("abcd"))


def test_a_run_with_groups(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = range(40)
    (tmp_path / "a.csv").write_text("task,worker,label\n" + "".join(f"i{k},{w},{k % 2}\n" for k in rows for w in "ab"))
    (tmp_path / "f.csv").write_text("task,x\n" + "".join(f"i{k},{k % 2 + k / 100}\n" for k in rows))
    (tmp_path / "g.csv").write_text("item,group\n" + "".join(f"i{k},{k // 20}\n" for k in rows))
    flags = ["--answers", "a.csv", "--features", "f.csv", "--groups", "g.csv", "--epochs", "1", "--methods", "majority-vote",
             "--device", "cpu", "--out", "run"]
    assert MAIN.main(flags) == 0
    with pytest.raises(UserError, match="--folds 3: the training items have 2 groups"):
        MAIN.main([*flags, "--folds", "3", "--fresh"])
    (tmp_path / "g.csv").write_text("item,group\ni0,0\n")  # other data: the run does not go on
    with pytest.raises(UserError, match="run"):
        MAIN.main(flags)
