"""What a GPU computes, against the CPU; and the benchmark that asks the same of one, cut down on a CPU."""
import json

import gpu_stages
import pytest
import torch

from common.kd_crowd.registry import ROBUST
from common.methods.registry import METHODS
from common.system.device import choose_device, settle

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")


@pytest.fixture
def bench(tmp_path):
    """On the GPU where there is one, else cut down on the CPU; torch's switches are put back."""
    enabled, cudnn, matmul = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32, torch.utils.deterministic.fill_uninitialized_memory
    device = choose_device(None)
    settle(device)
    yield gpu_stages.Bench(device, tmp_path, None)
    torch.use_deterministic_algorithms(enabled)
    (cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32,
     torch.utils.deterministic.fill_uninitialized_memory) = before


@needs_cuda
def test_losses_and_gradients_are_those_of_the_cpu(bench):
    rows = list(gpu_stages.agreement(bench))
    assert {row["method"] for row in rows} == {*METHODS, *ROBUST, "dividemix, warm"}
    assert [row for row in rows if not (row["loss_error"] < 1e-4 and row["gradient_error"] < 1e-3)] == []


@needs_cuda
def test_the_same_run_gives_the_same_stopped_or_not(bench, monkeypatch):
    monkeypatch.setattr(gpu_stages.loop, "CHECKPOINT_SECONDS", 60)  # the stage changes it
    monkeypatch.setattr(gpu_stages.cuda_graphs, "WORTHWHILE", 50)
    rows = list(gpu_stages.repeat(bench))
    assert len(rows) == 8 and all(row["same_metrics"] and row["same_weights"] and not row["warnings"] for row in rows)


def test_the_benchmark_runs_every_stage(command, tmp_path, cifar_folder, forked_scripts, blank_pictures, monkeypatch):
    monkeypatch.setattr(gpu_stages, "TIMED", ("aggnet", "max-mig", "kd-crowd-max-mig", "elr", "dividemix"))
    done = command("benchmarks/gpu.py", "--device", "cpu", "--minutes", 10, "--out", "out", "--path", cifar_folder)
    assert done.returncode == 0, done.stderr
    stages = "agreement", "repeat", "steps", "jobs", "graph", "prediction", "cifar10"
    for stage in stages:
        assert f"## {stage}: done" in done.stdout, (tmp_path / "out" / f"{stage}.log").read_text()
    rows = {stage: [json.loads(line) for line in (tmp_path / "out" / f"{stage}.jsonl").read_text().splitlines()]
            for stage in stages}
    assert {row["method"] for row in rows["agreement"]} == {*METHODS, *ROBUST, "dividemix, warm"}
    assert all(row["loss_error"] == row["gradient_error"] == 0 for row in rows["agreement"])
    assert [row["run"] for row in rows["repeat"]] == ["stopped in stage 1"]
    assert all(row["same_metrics"] and row["same_weights"] for row in rows["repeat"])
    assert all(row["same"] for row in rows["graph"]) and len(rows["graph"]) == len(gpu_stages.TIMED) + 1
    assert all(row["status"] == 0 for row in rows["jobs"] + rows["cifar10"])
    assert {row["method"] for row in rows["cifar10"]} == {"max-mig", "max-mig-forecaster", "true-label"}
    assert (tmp_path / "out" / "table.md").read_text().count("\n## ") == len(stages)


def test_a_stage_whose_time_is_up_keeps_what_it_has(tmp_path):
    """And what it has started is ended with it."""
    import argparse
    import subprocess
    import time

    import gpu

    def stage(bench):
        subprocess.Popen(["sh", "-c", "sleep 3; touch late"], cwd=tmp_path)
        yield {"found": 1}
        time.sleep(60)
    arguments = argparse.Namespace(out=tmp_path, device="cpu", path=None)
    assert gpu.run_stage(stage, arguments, 2) == "time was up"
    assert json.loads((tmp_path / "stage.jsonl").read_text())["found"] == 1
    time.sleep(2)
    assert not (tmp_path / "late").exists()

    def broken(bench):
        yield 1 / 0
    assert gpu.run_stage(broken, arguments, 20) == "failed, see broken.log"
    assert "ZeroDivisionError" in (tmp_path / "broken.log").read_text()
