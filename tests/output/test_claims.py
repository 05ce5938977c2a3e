"""reproduce.py claims: the verdict on each claim from a small results/, and the documents that have it."""
import json
import shutil

import pytest

import reproduce
from common.reproduce import claim_tables, claims, overview
from common.reproduce.cells import Cell
from common.reproduce.claims import (
    AHEAD,
    KD_AHEAD,
    KD_AS_LONG,
    KD_LOSS,
    KD_SELECTED,
    MATRICES,
    MEMORIZED,
    NEAR_TRUTH,
    SOURCES,
    Source,
    judge,
)
from common.reproduce.comparisons import compare
from common.reproduce.read_records import read_runs
from common.system.errors import UserError
from conftest import ROOT

ALONE, STUDENT = "max-mig", "kd-crowd-max-mig"


@pytest.fixture
def put(tmp_path):
    """put(folder, accuracies, ...) writes the record of a run into results/."""
    def put_run(folder, accuracies, seed=0, cell=None, errors=(), memorized=(), selected=(), **run):
        name = f"case{cell[0]}-{'high' if cell[1] else 'low'}" if cell else "labelme"
        path = tmp_path / "results" / folder / f"{name}-seed{seed}"
        path.mkdir(parents=True)
        run = {"precision": "float32", "robust": "elr", "kd_loss": "mig"} | run
        if cell:
            run |= {"case": cell[0], "expertise": cell[1]}
        config = {"dataset": "digits", "flags": {"seed": seed, "methods": list(accuracies), "epochs": 50}, "run": run,
                  "versions": {"torch": "2"}, "device": "cpu", "threads": 1, "commit": None, "data": {"test": 1000}}
        methods = {method: {"last": {"test_accuracy": accuracy, "test_auc": None}, "best": None, "best_epoch": None,
                            "train_label_accuracy": None, "seconds": None, "annotator_error": dict(errors).get(method),
                            "selected": {"test_accuracy": selected[method], "test_auc": None} if selected else None}
                   for method, accuracy in accuracies.items()}
        (path / "config.json").write_text(json.dumps(config))
        (path / "summary.json").write_text(json.dumps({"methods": methods, "seconds": 1.}))
        if memorized:
            rows = [f"{method},{stage},{epoch},{mean},.1\n" for method, stage, epoch, mean in memorized]
            (path / "memorized.csv").write_text("method,stage,epoch,mean,deviation\n" + "".join(rows))
        return path
    return put_run


@pytest.fixture
def judged(tmp_path):
    """judged(claim, folders, size): the judgement of what was put there."""
    def judge_one(claim, *folders, size=1):
        (found,) = judge(tmp_path / "results", (Source(claim, "data", folders, size, "digits.md"),))
        return found
    return judge_one


def test_a_standard_error_is_that_of_the_seeds_differences():
    found = compare("", {0: .80, 1: .90, 2: .7}, {0: .78, 1: .86, 3: 0.}, "aggnet")
    # of the seeds 0 and 1: the differences .02 and .04 have the mean .03 and, with n - 1, the standard error .01
    assert (found.gain, found.error) == (pytest.approx(.03), pytest.approx(.01)) and found.ahead
    assert found.value.seeds == 2 and found.value.mean == pytest.approx(.85)
    assert not compare("", {0: .80, 1: .90}, {0: .70, 1: .96}, "aggnet").ahead  # by .02 with a standard error of .08
    assert compare("", {0: .1}, {1: .1}, "aggnet") is None


def test_with_one_seed_it_is_that_of_two_shares_of_the_test_items():
    found = compare("", {0: .9}, {0: .8}, "aggnet", items=100)
    assert found.error == pytest.approx((.09 / 100 + .16 / 100) ** .5) and found.ahead
    assert not compare("", {0: .84}, {0: .8}, "aggnet", items=100).ahead
    assert not compare("", {0: .9}, {0: .8}, "aggnet").ahead  # of so many test items that nobody knows
    assert compare("", {0: .1}, {0: .11}, "aggnet", items=100, lower=True).ahead  # E_m is no share of the test items
    assert not compare("", {0: .1}, {0: .1}, "aggnet", lower=True).ahead


@pytest.mark.parametrize(("accuracies", "size", "verdict"), [
    ([{"max-mig": .9, "aggnet": .8, "true-label": .99, "conal": .95}], 1, "confirmed"),  # CoNAL is no baseline of the paper
    ([{"max-mig": .9, "aggnet": .8}], 6, "partly"),  # five cells were not run
    ([{"max-mig": .9, "aggnet": .8, "doctor-net": .95}], 1, "not confirmed"),
    ([{"max-mig": .9, "aggnet": .8}, {"max-mig": .7, "aggnet": .8}], 2, "partly"),
    ([{"max-mig": .9}], 1, "not run"), ([{"aggnet": .9}], 1, "not run"), ([], 1, "not run")])
def test_ahead_of_every_baseline(put, judged, accuracies, size, verdict):
    for seed in range(2):
        for case, methods in enumerate(accuracies, 1):
            put("digits", methods, cell=(case, 1), seed=seed)
    assert judged(AHEAD, "digits", size=size).verdict == verdict


def test_within_the_standard_error_is_not_ahead(put, judged):
    for seed, (ours, theirs) in enumerate([(.90, .85), (.80, .845)]):
        put("digits", {"max-mig": ours, "aggnet": theirs}, seed=seed)
    assert judged(AHEAD, "digits").verdict == "not confirmed"


def test_a_stopped_run_counts_by_each_methods_final_stage(put, tmp_path):
    """KD-Crowd, stopped in stage 1: the crowd model has ended, the student is not the result."""
    path = put("labelme", {}, lambda_u=0.)
    (path / "summary.json").unlink()
    rows = [(epoch, 0, name, .4 + epoch / 100) for epoch in range(1, 51) for name in (ALONE, f"{ALONE}-forecaster")]
    rows += [(epoch, 1, STUDENT, .95) for epoch in (1, 2)]
    (path / "metrics.csv").write_text("epoch,stage,method,loss,test_accuracy,test_auc,seconds\n" + "".join(
        f"{epoch},{stage},{name},1,{accuracy},,\n" for epoch, stage, name, accuracy in rows))
    (run,) = read_runs(path.parent)
    assert run.values == {ALONE: {"last_accuracy": .9}, f"{ALONE}-forecaster": {"last_accuracy": .9}}
    assert run.stopped == "2 of 50 epochs, stage 1" and Cell("", path, ()).state() == "stopped after stage 1, epoch 2"


def test_with_one_seed_nothing_is_confirmed(put, judged):
    put("digits", {"max-mig": .9, "aggnet": .8})
    assert judged(AHEAD, "digits").verdict == "partly"


def test_the_rival_is_the_one_that_denies_the_claim(put, judged):
    put("digits", {"max-mig": .900, "aggnet": .899, "doctor-net": .6, "majority-vote": .5})
    (found,) = judged(AHEAD, "digits").comparisons
    assert found.rival == "aggnet" and not found.ahead
    assert claim_tables.our_numbers(judged(AHEAD, "digits")) == "90.0, aggnet 89.9"


@pytest.mark.parametrize(("truth", "verdict"), [(.919, "confirmed"), (.93, "not confirmed")])
def test_near_the_true_labels(put, judged, truth, verdict):
    for seed in range(2):
        put("digits", {"max-mig": .9, "true-label": truth}, seed=seed)
    assert judged(NEAR_TRUTH, "digits").verdict == verdict


def put_kd(put, folder, gains, **how):
    for seed, gain in enumerate(gains):
        put(folder, {ALONE: .8, STUDENT: .8 + gain}, seed=seed, **how)


def test_kd_crowd_beside_its_crowd_models(put, judged):
    put_kd(put, "elr", (.03, .04), lambda_u=0.)
    assert judged(KD_AHEAD, "elr", "dividemix").verdict == "confirmed"
    missing = judged(KD_AHEAD, "elr", "dividemix", size=2)  # the cell is there, one of its two pairs is not
    assert missing.verdict == "partly" and claim_tables.our_numbers(missing).endswith("; 1 of 2 pairs not run")
    put_kd(put, "dividemix", (-.01, .01), lambda_u=0., robust="dividemix")
    found = judged(KD_AHEAD, "elr", "dividemix", size=2)
    assert found.verdict == "partly" and [c.way for c in found.comparisons] == ["ELR", "DivideMix"]
    assert claim_tables.our_numbers(found) == ("1 of 2 pairs; worst: DivideMix on max-mig (80.0 ± 1.4, alone 80.0 ± 0.0); "
                                               "best: ELR on max-mig (83.5 ± 0.7, alone 80.0 ± 0.0)")


def test_runs_before_the_correction_do_not_count(put, judged):
    put_kd(put, "old", (.03, .04))  # without lambda_u
    found = judged(KD_AHEAD, "old")
    assert (found.verdict, found.old, claim_tables.our_numbers(found)) == ("not run", 2, "2 older runs do not count")
    for seed in (2, 3):
        put("old", {ALONE: .8, "aggnet": .7}, seed=seed)
    assert judged(AHEAD, "old").verdict == "confirmed"  # of Max-MIG alone they do


def test_kd_crowd_beside_as_many_epochs_of_its_crowd_model(put, judged):
    put_kd(put, "elr", (.03, .04), lambda_u=0.)
    assert judged(KD_AS_LONG, "elr", "alone").verdict == "not run"
    for seed in range(2):
        put("alone", {ALONE: .85, "aggnet": .9}, seed=seed, lambda_u=0., epochs=150)
    found = judged(KD_AS_LONG, "elr", "alone")
    assert found.verdict == "not confirmed"
    assert claim_tables.our_numbers(found) == "ELR on max-mig (83.5 ± 0.7, alone 85.0 ± 0.0)"
    assert not claim_tables.summary([found]).rows  # it is no claim of a paper
    (grid,) = claim_tables.comparisons([found])
    assert grid.rows == [["data, ELR", "85.0 → 83.5", "2"]]


def test_kd_crowd_at_its_selected_epoch(put, judged):
    for seed in range(2):
        put("elr", {ALONE: .8, STUDENT: .7}, seed=seed, lambda_u=0., selected={ALONE: .8, STUDENT: .85})
    assert judged(KD_SELECTED, "elr").verdict == "confirmed" and judged(KD_AHEAD, "elr").verdict == "not confirmed"


def test_the_mig_loss_beside_kl(put, judged):
    put_kd(put, "mig", (.03, .04), lambda_u=0.)
    assert judged(KD_LOSS, "mig", "kl").verdict == "not run"
    put_kd(put, "kl", (.01, .03), lambda_u=0., kd_loss="kl")
    assert judged(KD_LOSS, "mig", "kl").verdict == "confirmed"
    assert len(judged(KD_AHEAD, "mig", "kl").comparisons) == 1  # KL is no KD-Crowd of the paper
    assert claim_tables.our_numbers(judged(KD_LOSS, "mig", "kl")) == "MIG loss on max-mig (83.5 ± 0.7, by KL 82.0 ± 1.4)"


def test_what_is_memorised_falls(put, judged):
    for seed in range(2):
        put("elr", {ALONE: .8, STUDENT: .8}, seed=seed, lambda_u=0., memorized=[
            (ALONE, 0, 50, .5 + seed / 10), (STUDENT, 1, 50, .9), (STUDENT, 2, 49, .9), (STUDENT, 2, 50, .3 + seed / 10)])
    found = judged(MEMORIZED, "elr")
    assert found.verdict == "confirmed"
    assert claim_tables.our_numbers(found) == "ELR on max-mig (35.0 ± 7.1, alone 55.0 ± 7.1)"


@pytest.mark.parametrize(("student", "verdict"), [(.1, "confirmed"), (.3, "not confirmed")])
def test_the_matrices_error_falls(put, judged, student, verdict):
    for seed in range(2):
        put("elr", {ALONE: .8, STUDENT: .8}, seed=seed, lambda_u=0., errors={ALONE: .2, STUDENT: student + seed / 100})
    found = judged(MATRICES, "elr")
    assert found.verdict == verdict and f"{student + .005:.2f} ± 0.01, alone 0.20 ± 0.00" in claim_tables.our_numbers(found)


def test_a_stopped_run_counts_with_its_last_epoch(put, judged):
    path = put("cifar10", {"max-mig": .1, "aggnet": .9})
    (path / "summary.json").unlink()
    (path / "metrics.csv").write_text("epoch,method,loss,test_accuracy,test_auc,seconds\n1,max-mig,1,.2,,\n1,aggnet,1,.8,,\n"
                                      "43,max-mig,1,.7,,\n43,aggnet,1,.5,,\n43,max-mig-forecaster,,,,\n")
    found = judged(AHEAD, "cifar10")
    assert found.verdict == "partly" and claim_tables.our_numbers(found) == "70.0, aggnet 50.0; after 43 of 50 epochs"


def test_a_run_that_is_recorded_twice_is_refused(put, judged):
    put("digits/one", {"max-mig": .9, "aggnet": .8})
    put("digits/two", {"max-mig": .9})
    with pytest.raises(UserError, match="max-mig of seed 0 is recorded twice for one claim"):
        judged(AHEAD, "digits")


def test_documents_are_filled_in(put, tmp_path, monkeypatch, capsys):
    for cell in ((case, expertise) for case in (1, 2, 3) for expertise in (0, 1)):
        put("digits", {"max-mig": .9, "aggnet": .8, "true-label": .91}, cell=cell)
        put("digits-kd-elr", {ALONE: .8, STUDENT: .9}, cell=cell, lambda_u=0.)
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "README.md").write_text("# Here\n\n<!-- claims: overview, summary -->\nold\n<!-- end -->\nmore\n")
    page = tmp_path / "docs" / "results" / "README.md"
    page.write_text("<!-- claims: summary, rule, comparisons -->\n<!-- end -->\n\n"
                    "<!-- results/digits: how -->\nold\n<!-- end -->\n")
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    assert reproduce.main(["claims", "--tables-only"]) == 0
    filled, printed = (tmp_path / "README.md").read_text(), capsys.readouterr().out
    assert filled.startswith("# Here\n\n<!-- claims: overview, summary -->\n\n| claim | [digits](docs/results/digits.md) |")
    assert "\n| Max-MIG is ahead of every baseline | partly, 6 of 6 (1): 90.0, aggnet 80.0 | not run |" in filled
    assert "\n\n| claim | data set | verdict | our numbers |" in filled
    assert filled.endswith("\n\n<!-- end -->\nmore\n") and "\nold\n" not in filled
    row = "| Max-MIG is ahead of every baseline | digits | partly | 6 of 6 cells; worst: case 1, high (90.0, aggnet 80.0)"
    assert row in filled and "| 1 | `reproduce.py digits --seeds 5` |" in filled
    assert "[digits](docs/results/digits.md)" in filled and "| CIFAR-10 | not run |" in filled
    text = page.read_text()
    assert claims.RULE in text and "[digits](digits.md)" in text and "\nold\n" in text
    assert "| digits, case 1, high | **90.0** | 80.0 (aggnet) | +10.0 ± 1.6 | 91.0 | 1 |" in text
    assert "| digits, case 1, high, ELR | **80.0 → 90.0** | 1 |" in text
    assert "README.md has these tables now" in printed and max(map(len, printed.splitlines())) <= 120
    assert reproduce.main(["claims"]) == 0  # nothing changes a second time
    assert "has these tables now" not in capsys.readouterr().out and page.read_text() == text


def test_the_documents_have_the_claims_of_results(tmp_path, monkeypatch):
    """Run python3 reproduce.py claims --tables-only where this fails."""
    shutil.copytree(ROOT / "results", tmp_path / "results")
    shutil.copytree(ROOT / "docs" / "results", tmp_path / "docs" / "results")
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    reproduce.main(["claims"])
    for name in ("README.md", "docs/results/README.md"):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_sources_name_folders_and_pages_that_exist():
    for source in SOURCES:
        assert (ROOT / "docs" / "results" / source.page).exists()
        assert all((ROOT / "results" / folder).is_dir() for folder in source.folders)
        assert not source.command or source.command.split()[0] in reproduce.DATASETS


def test_claims_take_no_flags():
    with pytest.raises(UserError, match="claims --seeds 3: the claims' tables are made of results/; give no flags"):
        reproduce.main(["claims", "--seeds", "3"])


def test_without_a_data_set(capsys):
    """It says what there is, with --list too; other flags need a data set."""
    said = []
    for arguments in ([], ["--list"]):
        assert reproduce.main(arguments) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "digits: Digits/main.py" in said[0]
    with pytest.raises(UserError, match="no data set; give one of digits, labelme"):
        reproduce.main(["--seeds", "3"])


def test_what_there_is(put, tmp_path):
    put("digits", {"max-mig": .9}, cell=(1, 1))
    put("digits", {"max-mig": .9}, cell=(1, 1), seed=1)
    put("other/part", {"max-mig": .9}, cell=(1, 1))
    text = "\n".join(overview.overview(tmp_path))
    assert "results/ has (runs): digits (2), other (1)" in text
    for name, dataset in reproduce.DATASETS.items():
        assert f"{name}: {dataset.script}" in text and f"python3 reproduce.py {name} {dataset.example}" in text
        assert (ROOT / dataset.script).exists()


@pytest.mark.parametrize("name", reproduce.DATASETS)
def test_the_cells_that_are_named_are_those_that_run(name, tmp_path):
    script = reproduce.load_script(name)
    options, extra = reproduce.parse([name, "--seeds", "1", "--out", str(tmp_path)])
    assert overview.cells_of(name).startswith(str(len(reproduce.make_cells(options, extra, script))))
