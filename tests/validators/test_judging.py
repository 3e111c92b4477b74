"""The judge: what passes, what is noise, what drifts, and what the report says of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convkit.arrays import save_arrays
from convkit.errors import ConversionError, InputSpecError, SourceRunError
from convkit.reports.schema import Tolerance, ValidationReport, Verdict
from convkit.signature import Signature, parse_spec
from convkit.validators import noise
from convkit.validators.judging import Judge, Run, tolerances

SIGNATURE = Signature((parse_spec("x:float32[4]"),), (parse_spec("y:float32[4,8]"), parse_spec("n:int64[4]")))
Y = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
SCALE = float(np.abs(Y).max())


def off(share: float) -> np.ndarray:
    """The output, one element of which is off by that share of the scale."""
    moved = Y.astype(np.float64)
    moved[2, 3] += share * SCALE
    return moved


@pytest.fixture
def judged(tmp_path):
    """A judge of one run: the target is off by `got`, the source in experiments by `varied`."""

    def judge(
        got: float, own: dict[str, float] | None = None, **varied: float
    ) -> tuple[Judge, ValidationReport, dict[str, object]]:
        files = {name: tmp_path / f"{name}.npz" for name in ("expected", "got", *varied)}
        save_arrays(files["expected"], {"y": Y})
        save_arrays(files["got"], {"y": off(got).astype(np.float32)})
        for name, share in varied.items():
            save_arrays(files[name], {"y": off(share)})
        own = own or {}
        report = ValidationReport("A", "B", {"y": Tolerance(own.get("y", 1e-5), "test")})
        moved = {noise.INPUTS: files["moved"]} if "moved" in varied else {}
        judge = Judge(report, own)
        judge.take(Run("seed 0", files["expected"], files["got"], (0.1, 0.1), varied=moved))
        return judge, report, files

    return judge


def test_a_difference_is_told_in_multiples_of_the_noise_floor(judged):
    judge, report, _ = judged(4e-6, moved=1e-6)
    judge.close()
    (output,) = report.sets[0].outputs
    assert output.passed and output.times_noise == pytest.approx(4, rel=0.1)
    assert output.noise.reason == noise.INPUTS
    told = report.to_json()["sets"][0]["outputs"][0]
    assert told["times_noise"] == output.times_noise and told["noise"]["relative"] == output.noise.relative
    assert report.to_json()["summary"]["times_noise"] == output.times_noise


def test_without_an_experiment_the_floor_is_the_dtypes(judged):
    judge, report, _ = judged(1e-6)
    judge.close()
    assert report.sets[0].outputs[0].noise.relative == 2.0**-24


def test_noise_explains_what_the_default_does_not(judged):
    judge, report, _ = judged(5e-5, moved=2e-5)
    assert not judge.doubtful()
    judge.close()
    assert report.verdict is Verdict.PROVED and report.sets[0].outputs[0].allowed == pytest.approx(2e-4, rel=0.1)


def test_a_later_experiment_can_explain_a_miss(judged):
    judge, report, files = judged(5e-5, moved=1e-7, weights=8e-6)
    assert judge.doubtful() == judge.near_misses() == [0]
    judge.weigh(0, files["weights"], "its weights move by a last bit")
    assert not judge.doubtful()
    judge.close()
    assert report.verdict is Verdict.PROVED and "weights" in report.sets[0].outputs[0].noise.reason


def test_beyond_the_noise_is_drift(judged):
    judge, report, files = judged(5e-4, moved=1e-7, weights=8e-6)
    judge.weigh(0, files["weights"], "its weights move by a last bit")
    judge.close()
    assert report.verdict is Verdict.DRIFT


def test_what_is_far_off_costs_no_long_experiment(judged):
    judge, _, _ = judged(0.3, moved=1e-7)
    assert judge.doubtful() == [0] and judge.near_misses() == []


def test_what_jumps_by_roundings_is_looked_at_however_far_off(judged, tmp_path):
    judge, _, _ = judged(0.3, moved=2e-4)
    assert judge.near_misses() == [0]
    labels = np.array([3, 7, 9])
    save_arrays(tmp_path / "labels.npz", {"n": labels})
    save_arrays(tmp_path / "others.npz", {"n": labels + (labels == 7)})
    report = ValidationReport("A", "B", {"n": Tolerance(0.0, "exact")})
    judge = Judge(report, {})
    judge.take(Run("seed 0", tmp_path / "labels.npz", tmp_path / "others.npz", (0.1, 0.1)))
    assert judge.near_misses() == [0]
    judge.weigh(0, tmp_path / "others.npz", "its weights move by a last bit")
    with pytest.raises(SourceRunError, match="ill-conditioned"):
        judge.close()


def test_inputs_on_which_noise_drowns_everything_do_not_count(judged):
    judge, report, _ = judged(0.1, moved=0.05)
    with pytest.raises(SourceRunError, match="ill-conditioned"):
        judge.close()
    assert "moves by 5.0e-02 of its scale when its inputs move by a last bit" in report.notes[0]


def test_drift_beyond_loud_noise_is_drift_all_the_same(judged):
    judge, report, _ = judged(0.9, moved=0.01)
    judge.close()
    assert report.verdict is Verdict.DRIFT


def test_what_agrees_on_an_ill_conditioned_source_counts(judged):
    judge, report, _ = judged(2e-6, moved=0.05)
    judge.close()
    assert report.verdict is Verdict.PROVED


def test_noise_does_not_widen_the_user_s_own_tolerance(judged):
    judge, report, _ = judged(5e-5, {"y": 1e-6}, moved=1e-2)
    assert not judge.doubtful()
    judge.close()
    assert report.verdict is Verdict.DRIFT and report.sets[0].outputs[0].allowed == 1e-6


@pytest.mark.parametrize(("got", "truth", "said"), [(5e-4, 4.9e-4, "the target is closer"), (5e-4, 1e-5, "the source is closer")])
def test_float64_tells_which_side_is_nearer(judged, got, truth, said):
    judge, report, files = judged(got, moved=1e-7, wide=truth)
    judge.refer(0, files["wide"], None, "it computes in float64")
    judge.close()
    (output,) = report.sets[0].outputs
    assert output.source_error == pytest.approx(truth, rel=0.05)
    assert output.target_error == pytest.approx(abs(got - truth), rel=0.05)
    assert any(said in note for note in report.notes)


def test_an_importer_s_float64_does_not_cover_its_own_fault(judged):
    """The imported program is off from the source: its roundings are a floor, its float64 is nobody's truth."""
    judge, report, files = judged(5e-4, moved=1e-7, wide=5e-4, narrow=5.01e-4)
    judge.refer(0, files["wide"], files["narrow"], "it computes in float64")
    judge.close()
    (output,) = report.sets[0].outputs
    assert report.verdict is Verdict.DRIFT and output.noise.relative < 2e-6
    assert output.source_error is None and not any("closer" in note for note in report.notes)


def test_a_faithful_importer_s_float64_counts(judged):
    judge, report, files = judged(5e-5, moved=1e-7, wide=2e-5, narrow=1e-7)
    judge.refer(0, files["wide"], files["narrow"], "it computes in float64")
    judge.close()
    assert report.verdict is Verdict.PROVED
    assert report.sets[0].outputs[0].source_error == pytest.approx(2e-5, rel=0.05)


def test_a_bound_that_is_broken_fails_an_output(judged):
    judge, report, _ = judged(1e-6)
    judge.judge_by(0, "y", {"mine": 0.5}, ["mine is 0.5, not >= 0.9"])
    judge.close()
    (output,) = report.sets[0].outputs
    assert report.verdict is Verdict.DRIFT and output.metrics["mine"] == 0.5 and "not >= 0.9" in output.problem


def test_what_does_not_run_is_a_note_or_an_error(tmp_path):
    report = ValidationReport("A", "B", {"y": Tolerance(1e-5, "test")})
    nowhere = tmp_path / "none.npz"
    judge = Judge(report, {})
    judge.take(Run("seed 0", nowhere, nowhere, (0.0, 0.0), ("no such kernel", "")))
    assert "no such kernel" in report.notes[0]
    with pytest.raises(SourceRunError, match="on none of the inputs"):
        judge.close()
    with pytest.raises(ConversionError, match="does not run"):
        judge.take(Run("seed 1", nowhere, nowhere, (0.0, 0.0), ("", "aborted")))


def test_what_nothing_would_pass_is_null_in_json(tmp_path):
    """Infinity is no JSON."""
    save_arrays(tmp_path / "a.npz", {"y": np.zeros((2, 2), np.float32)})
    save_arrays(tmp_path / "b.npz", {"y": np.ones((2, 2), np.float32)})
    report = ValidationReport("A", "B", {"y": Tolerance(1e-5, "test")})
    judge = Judge(report, {})
    judge.take(Run("seed 0", tmp_path / "a.npz", tmp_path / "b.npz", (0.1, 0.1)))
    judge.close()
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert told["verdict"] == "drift" and told["sets"][0]["outputs"][0]["required"] is None
    assert told["summary"]["required_tolerance"] is None and report.required == float("inf")


def test_tolerances_are_the_dtypes_or_the_user_s():
    found = tolerances(SIGNATURE, (None, None), {"y": 1e-3})
    assert (found["y"].relative, found["y"].reason, found["n"].relative) == (1e-3, "given", 0.0)
    assert tolerances(SIGNATURE, (None, None), {"": 0.5})["n"].relative == 0.5
    coarse = Tolerance(1e-2, "a browser")
    assert tolerances(SIGNATURE, (None, None), {}, coarse) == {"y": coarse, "n": tolerances(SIGNATURE, (None,), {})["n"]}
    with pytest.raises(InputSpecError, match="which is no output") as caught:
        tolerances(SIGNATURE, (None, None), {"logits": 1e-3})
    assert "y, n" in caught.value.hint
