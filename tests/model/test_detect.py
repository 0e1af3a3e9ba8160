"""From probabilities to tumours on the scan's own grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.chests import chest_with_a_dome

from tumorspread.measurement.pieces import label_lesions
from tumorspread.model.calibrate import THRESHOLDS
from tumorspread.model.candidates import Detection
from tumorspread.model.detect import box_of_lungs, find_lungs, judge
from tumorspread.model.preprocess import PreprocessConfig, plan_way
from tumorspread.scan.volume import Volume

DETECTION = Detection(slope=2.0, offset=-0.5, sensitive=0.1, balanced=0.5, specific=0.9)


def scan_of(flipped):
    """Two boxes of lung on a grid of 4 x 2 x 2 mm, stored upright or upside down and turned."""
    sides = np.zeros((20, 60, 80), np.uint8)
    sides[2:18, 10:50, 45:75], sides[2:18, 10:50, 5:35] = 1, 2
    upright = Volume.upright(np.zeros(sides.shape, np.int16), (4.0, 2.0, 2.0))
    if not flipped:
        return upright, sides
    affine = upright.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (sides.shape[0] - 1)
    affine[:, 1] *= -1
    turned = np.ascontiguousarray(sides.transpose(2, 0, 1)[:, ::-1])
    return Volume(np.zeros(turned.shape, np.int16), affine), turned


def probabilities(way):
    """In mm of the canonical grid: a likely ball in the left lung, a doubtful one in the right, one far above."""
    points = np.moveaxis(np.indices(way.step.target), 0, -1) * way.target_spacing_mm
    found = np.zeros(way.step.target, np.float32)
    for centre, value in (((40, 60, 120), 0.9), ((40, 60, 40), 0.45), ((40, 6, 80), 0.8)):
        found[np.linalg.norm(points - centre, axis=-1) < 8] = value
    return found


@pytest.fixture(params=[False, True], ids=["upright", "turned"])
def case(request):
    scan, sides = scan_of(request.param)
    return scan, sides, plan_way(scan, PreprocessConfig(spacing_mm=(3.0, 3.0, 3.0)))


def found(case, **options):
    _, sides, way = case
    options = {"sides": sides, "detection": DETECTION, **options}
    sides = options.pop("sides")
    return judge(probabilities(way), way, find_lungs(sides, way), threshold=0.3, **options)


def test_what_lies_outside_the_lungs_is_left_out_with_a_word(case):
    done = found(case, point="sensitive")
    assert [one.is_kept for one in done.candidates] == [True, False, True]
    assert [remark.code for remark in done.remarks] == ["outside_lungs_left_out"]
    ball_ml = 4 / 3 * np.pi * 0.8**3
    assert float(done.remarks[0].text.split(" mL")[0]) == pytest.approx(ball_ml, rel=0.1)
    assert "outside the lungs" in done.remarks[0].text
    assert label_lesions(done.mask).voxels.max() == 2


@pytest.mark.parametrize(("share", "codes"), [(0.15, ["dense_left_out"]), (0.05, [])])
def test_what_is_as_dense_as_bone_is_left_out_with_a_word(case, share, codes):
    _, sides, way = case
    probability = probabilities(way)
    probability[probability == np.float32(0.8)] = 0  # the one far above
    ball = np.flatnonzero(probability == np.float32(0.9))
    ball, rest = np.array_split(ball, 2)  # half of 2.1 mL
    probability.reshape(-1)[rest] = 0
    lungs = find_lungs(sides, way)
    dense = np.zeros(probability.shape, bool)
    dense.reshape(-1)[ball[: round(share * len(ball))]] = True
    lungs = replace(lungs, room=replace(lungs.room, dense=dense))
    done = judge(probability, way, lungs, threshold=0.3, detection=DETECTION, point="sensitive")
    assert [remark.code for remark in done.remarks] == codes
    assert [one.is_bone for one in done.candidates] == [bool(codes), False]
    assert label_lesions(done.mask).voxels.max() == 2 - len(codes)
    if codes:
        assert float(done.remarks[0].text.split(" mL")[0]) == pytest.approx(2 / 3 * np.pi * 0.8**3, rel=0.1)


def test_what_is_kept_without_lung_beneath_comes_with_a_word():
    sides, dome, ball = chest_with_a_dome((2.0, 2.0, 2.0), (85.0, 100.0, 145.0), 22.0, depth_mm=20.0)
    way = plan_way(
        Volume.upright(sides.astype(np.int16), (2.0, 2.0, 2.0)), PreprocessConfig(spacing_mm=(2.0, 2.0, 2.0))
    )
    probability = np.where(dome | ball, 0.9, 0).astype(np.float32)
    done = judge(probability, way, find_lungs(sides, way), threshold=0.5, detection=DETECTION)
    assert [remark.code for remark in done.remarks] == ["reaches_below_lungs"]
    assert f"{done.mask.voxels.sum() * 0.008:.3g} mL" in done.remarks[0].text


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("slice_mm", [1.0, 2.5, 5.0])
def test_what_was_left_out_does_not_come_back_by_rounding(threshold, slice_mm):
    """Interpolating between voxels at the threshold gives the threshold and a rounding error, on either side."""
    scan = Volume.upright(np.zeros((round(120 / slice_mm), 60, 80), np.int16), (slice_mm, 2.0, 2.0))
    sides = np.zeros(scan.shape, np.uint8)
    sides[:, 5:30, 45:75] = 1
    way = plan_way(scan, PreprocessConfig(spacing_mm=(2.0, 2.0, 2.0)))
    points = np.moveaxis(np.indices(way.step.target), 0, -1) * way.target_spacing_mm
    probability = np.zeros(way.step.target, np.float32)
    kept = np.linalg.norm(points - (60, 30, 120), axis=-1) < 9
    probability[kept] = 0.95
    probability[np.linalg.norm(points - (60, 100, 30), axis=-1) < 14] = 0.95  # out of reach of the lung
    probability[np.linalg.norm(points - (20, 30, 120), axis=-1) < 9] = threshold + 0.01  # not likely enough
    detection = Detection(sensitive=0.8, balanced=0.85, specific=0.9)
    done = judge(probability, way, find_lungs(sides, way), threshold=threshold, detection=detection)
    labels = label_lesions(done.mask)
    assert labels.voxels.max() == sum(one.is_kept for one in done.candidates) == 1
    assert done.probabilities(labels) == pytest.approx([detection.probability(0.95)], rel=1e-5)


def test_a_lesion_thinner_than_a_slice_has_its_probability():
    scan = Volume.upright(np.zeros((24, 40, 40), np.int16), (5.0, 2.0, 2.0))
    way = plan_way(scan, PreprocessConfig(spacing_mm=(2.0, 2.0, 2.0)))
    for z in range(18, 32):
        probability = np.zeros(way.step.target, np.float32)
        probability[z : z + 2, 18:22, 18:22] = 0.95
        done = judge(probability, way, None, threshold=0.3, detection=DETECTION)
        labels = label_lesions(done.mask)
        wanted = [DETECTION.probability(0.95)] * int(labels.voxels.max())
        assert done.probabilities(labels) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("tile", [(16, 16, 16), (16, 16)])
def test_the_box_holds_all_within_reach_and_is_no_smaller_than_a_tile(tile):
    near = np.zeros((30, 50, 60), bool)
    near[10:14, 3:6, 20:50] = True
    box = box_of_lungs(near, 2, tile)
    assert near[box].sum() == near.sum()
    if len(tile) == 3:
        assert box == (slice(4, 20), slice(0, 16), slice(18, 52))
    else:
        assert box == (slice(8, 16), slice(0, 50), slice(0, 60))


def test_without_lungs_nothing_is_left_out_for_its_place(case):
    done = found(case, point="sensitive", sides=None)
    assert done.remarks == ()
    assert label_lesions(done.mask).voxels.max() == 3


@pytest.mark.parametrize(("point", "count"), [("sensitive", 2), ("balanced", 1), ("specific", 1)])
def test_lesions_come_with_the_probability_of_their_piece(case, point, count):
    done = found(case, point=point)
    labels = label_lesions(done.mask)
    likely = done.probabilities(labels)
    assert len(likely) == labels.voxels.max() == count
    wanted = {DETECTION.probability(0.9), DETECTION.probability(0.45)}
    assert all(any(value == pytest.approx(p, rel=1e-5) for p in wanted) for value in likely)
    assert max(likely) == pytest.approx(DETECTION.probability(0.9), rel=1e-5)


def test_without_a_calibration_every_piece_counts_and_none_has_a_probability(case):
    done = found(case, detection=None, sides=None)
    assert done.likely is None
    labels = label_lesions(done.mask)
    assert labels.voxels.max() == 3
    assert done.probabilities(labels) is None


def test_the_mask_lies_on_the_scan_where_the_balls_were(case):
    scan, _, way = case
    done = found(case, point="specific")
    assert done.mask.same_grid(scan)
    voxels = np.argwhere(way.turn.apply_array(done.mask.voxels))
    assert (voxels.mean(axis=0) * (4, 2, 2)) == pytest.approx((40, 60, 120), abs=2.0)


def test_sampling_and_its_index_agree():
    scan, sides = scan_of(False)
    way = plan_way(scan, PreprocessConfig(spacing_mm=(3.0, 3.0, 3.0)))
    coarse = way.sample(sides)
    assert coarse.shape == way.step.target
    index = np.argwhere(sides == 1)
    assert (coarse[way.to_target(index)] == 1).mean() > 0.9
