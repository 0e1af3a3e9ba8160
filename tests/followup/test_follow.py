"""Lesions over time on chests that were deformed and whose lesions grew in a known way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from tumorspread.data.phantom import PhantomConfig, make_phantom
from tumorspread.errors import MaskError, ReadError
from tumorspread.followup.follow import Visit, follow, open_visit
from tumorspread.followup.record import FollowUp
from tumorspread.followup.registration import register
from tumorspread.pipeline import measure
from tumorspread.report.folder import write_analysis
from tumorspread.scan.nifti import write_nifti

SPACING = (2.5, 2.0, 2.0)


@dataclass(frozen=True)
class Pair:
    before: Visit
    after: Visit
    growth: dict[int, float]  # of the lesions of the baseline by id: ratio of volumes, 0 for gone
    partner: dict[int, int]  # id before to id after
    new: set[int]  # ids after


def moved(points_mm, seed):
    """Where a point of the later scan lay in the earlier one: 4 % larger, 8 mm higher, and bent by up to 10 mm."""
    waves = np.random.default_rng(seed).uniform(-1, 1, (3, 2, 3))
    bent = 1.04 * points_mm + np.array([3.0, -4.0, 8.0])
    for axis in range(3):
        a, b = waves[axis]
        bent[..., axis] += 3.0 * np.sin(points_mm @ (a / 40)) + 3.0 * np.cos(points_mm @ (b / 55))
    return bent


def came_from(points_mm, seed):
    """The inverse of `moved`, by iteration."""
    points = points_mm.copy()
    for _ in range(60):
        points += points_mm - moved(points, seed)
    return points


def painted(chest, centres_mm, radii_mm):
    """The chest with solid balls, their mask, and which ball each label of `measure` will be."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in chest.shape], indexing="ij"), -1)
    world = chest.to_world(index)
    voxels, mask = chest.voxels.astype(np.float32), np.zeros(chest.shape, np.uint8)
    for centre, radius in zip(centres_mm, radii_mm, strict=True):
        inside = ((world - centre) ** 2).sum(-1) <= radius**2
        voxels[inside], mask[inside] = 40, 1
    return chest.with_voxels(voxels.astype(np.int16)), chest.with_voxels(mask)


def places_in(chest, count, rng):
    """Points well inside the lungs, 26 mm and more from each other."""
    lung = ndimage.binary_erosion(chest.voxels < -700, iterations=5)
    candidates = chest.to_world(np.argwhere(lung))
    chosen = []
    for point in candidates[rng.permutation(len(candidates))]:
        if all(np.linalg.norm(point - other) > 26 for other in chosen):
            chosen.append(point)
        if len(chosen) == count:
            break
    return np.array(chosen)


def make_pair(seed, kept=7):
    """Two scans: `kept` lesions that change, two that vanish, two that appear."""
    rng = np.random.default_rng(seed)
    clean = make_phantom(seed, PhantomConfig(spacing_mm=SPACING, tumours=(0, 0))).scan
    index = np.stack(np.meshgrid(*[np.arange(n) for n in clean.shape], indexing="ij"), -1)
    there = clean.to_index(moved(clean.to_world(index), seed))
    warped = ndimage.map_coordinates(
        clean.voxels.astype(np.float32), np.moveaxis(there, -1, 0), order=1, mode="nearest"
    )
    later = clean.with_voxels((warped + rng.normal(0, 10, warped.shape)).astype(np.int16))
    places = places_in(clean, kept + 4, rng)
    radii = rng.uniform(5, 11, len(places))
    growth = rng.choice([0.4, 0.7, 1.0, 1.5, 2.2], len(places))
    olds, stays, news = np.arange(kept + 2), np.arange(kept), np.arange(kept + 2, kept + 4)
    before = measured(clean, places[olds], radii[olds])
    now = np.concatenate([stays, news])
    scale = np.concatenate([growth[stays], np.ones(2)]) ** (1 / 3)
    after = measured(later, came_from(places[now], seed), radii[now] * scale)
    id_before = by_place(before, places[olds])
    id_after = by_place(after, came_from(places[now], seed))
    return Pair(
        before=before,
        after=after,
        growth={id_before[i]: float(growth[i]) if i < kept else 0.0 for i in range(kept + 2)},
        partner={id_before[i]: id_after[i] for i in range(kept)},
        new={id_after[kept], id_after[kept + 1]},
    )


def measured(chest, centres_mm, radii_mm):
    return Visit.of(measure(*painted(chest, centres_mm, radii_mm)))


def by_place(visit, centres_mm):
    """The id of the lesion at each centre."""
    found = {}
    for number, centre in enumerate(centres_mm):
        z, y, x = np.round(visit.lesions.to_index(centre)).astype(int)
        found[number] = int(visit.lesions.voxels[z, y, x])
        assert found[number] > 0
    assert len(set(found.values())) == len(found)
    return found


@pytest.fixture(scope="module")
def pairs():
    return [make_pair(seed) for seed in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def followed(pairs):
    return [follow([pair.before, pair.after], days=[0, 90]).followup for pair in pairs]


def test_98_percent_of_lesions_are_matched_right(pairs, followed):
    right = total = 0
    for pair, found in zip(pairs, followed, strict=True):
        partner, gone, new = {}, set(), set()
        for track in found.tracks:
            first, last = track.points
            if last.state == "stays":
                partner[first.lesion_ids[0]] = last.lesion_ids[0]
            elif last.state == "gone":
                gone |= set(first.lesion_ids)
            elif last.state == "new":
                new |= set(last.lesion_ids)
        right += sum(partner.get(old) == now for old, now in pair.partner.items())
        right += len(gone & {n for n, g in pair.growth.items() if not g}) + len(new & pair.new)
        total += len(pair.growth) + len(pair.new)
    assert total == 44
    assert right >= 0.98 * total


def test_growth_lies_within_its_error_bar(pairs, followed):
    inside, total = 0, 0
    for pair, found in zip(pairs, followed, strict=True):
        for track in found.tracks:
            if track.points[1].state == "stays":
                truth = 100 * (pair.growth[track.points[0].lesion_ids[0]] - 1)
                inside += abs(track.change.volume_percent - truth) <= track.change.volume_percent_error
                total += 1
    assert total >= 27
    assert inside >= 0.95 * total


def test_doubling_times_are_those_of_the_growth_within_their_error_bars(pairs, followed):
    inside = []
    for pair, found in zip(pairs, followed, strict=True):
        for track in found.tracks:
            time, error = track.change.doubling_time_days, track.change.doubling_time_days_error
            if track.points[1].state != "stays" or time is None:
                continue
            # In rates, which pass through nought where times pass through the infinite.
            growth = np.log2(pair.growth[track.points[0].lesion_ids[0]]) / 90
            inside.append(abs(1 / time - growth) <= error / time**2)
            assert (time > 0) == (track.change.volume_percent > 0)
    assert len(inside) >= 16
    assert np.mean(inside) >= 0.95


def test_a_new_lesion_is_progression_and_the_lungs_meet(followed):
    for found in followed:
        baseline, later = found.time_points
        assert (baseline.overall_response, later.overall_response) == (None, "PD")
        assert len(later.new_lesion_ids) == 2
        assert later.lung_dice_after > 0.95 > later.lung_dice_before


def test_registration_finds_the_way_to_two_millimetres(pairs):
    before, after = pairs[0].before, pairs[0].after
    found = register(after.scan, before.scan, after.lungs, before.lungs)
    points = after.lungs.to_world(np.argwhere(after.lungs.voxels > 0)[::501])
    errors = np.linalg.norm(found.map_points(points) - moved(points, 1), axis=1)
    assert np.median(errors) < 2.0
    assert np.percentile(errors, 95) < 5.0
    back = found.map_back(found.map_points(points))
    assert np.percentile(np.linalg.norm(back - points, axis=1), 95) < 0.5


def test_the_json_comes_back(followed):
    text = followed[0].to_json()
    assert FollowUp.from_json(text) == followed[0]
    with pytest.raises(ReadError, match=r"not a followup\.json"):
        FollowUp.from_json(text.replace('"tracks"', '"trucks"'))


def test_every_missing_number_has_its_reason(followed):
    for found in [*followed, FollowUp.from_json(followed[0].to_json())]:
        for part in [*found.time_points, *(track.change for track in found.tracks)]:
            missing = {name for name, value in vars(part).items() if value is None}
            assert missing == set(part.reasons)


def test_result_folders_alone_are_registered_by_their_lungs(pairs, tmp_path):
    pair = pairs[0]
    for name, visit in (("one", pair.before), ("two", pair.after)):
        (tmp_path / name).mkdir()
        write_analysis(measure(visit.scan, visit.scan.with_voxels(visit.lesions.voxels > 0)), tmp_path / name)
    found = follow([open_visit(str(tmp_path / "one")), open_visit(str(tmp_path / "two"))]).followup
    assert "registered_by_lungs_alone" in [w.code for w in found.warnings]
    right = {t.points[0].lesion_ids[0]: t.points[1].lesion_ids[0] for t in found.tracks if t.points[1].state == "stays"}
    assert sum(right.get(old) == now for old, now in pair.partner.items()) >= len(pair.partner) - 1
    write_nifti(pair.before.scan, tmp_path / "scan.nii.gz")
    assert open_visit(f"{tmp_path / 'one'},{tmp_path / 'scan.nii.gz'}").scan is not None
    write_nifti(pair.after.scan.crop((1, 0, 0), pair.after.scan.shape), tmp_path / "other.nii.gz")
    with pytest.raises(MaskError, match="another grid"):
        open_visit(f"{tmp_path / 'one'},{tmp_path / 'other.nii.gz'}")
    with pytest.raises(ReadError, match="no result folder"):
        open_visit(str(tmp_path))


def test_names_may_hold_commas_and_damaged_results_are_refused_in_words(pairs, tmp_path):
    visit = pairs[0].before
    folder = tmp_path / "a, b" / "may,1"
    folder.mkdir(parents=True)
    write_analysis(measure(visit.scan, visit.scan.with_voxels(visit.lesions.voxels > 0)), folder)
    write_nifti(visit.scan, tmp_path / "a, b" / "ct,1.nii.gz")
    assert open_visit(f"{folder},{tmp_path / 'a, b' / 'ct,1.nii.gz'}").scan is not None
    assert open_visit(str(folder)).scan is None
    write_nifti(visit.scan.with_voxels(np.zeros(visit.scan.shape, np.uint8)), folder / "lungs.nii.gz")
    assert open_visit(str(folder)).lungs is None
    (folder / "findings.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReadError, match=r"findings\.json cannot be read"):
        open_visit(str(folder))
    with pytest.raises(ReadError):
        open_visit("x" * 300 + "," + "y" * 300)


@pytest.mark.parametrize("days", [[0], [0, 0], [5, 1], [0, 1, 2]])
def test_days_that_are_not_ascending_or_not_as_many_are_refused(pairs, days):
    with pytest.raises(ReadError, match="ascending"):
        follow([pairs[0].before, pairs[0].after], days=days)


def test_one_scan_is_refused(pairs):
    with pytest.raises(ReadError, match="at least one later scan"):
        follow([pairs[0].before])


def test_a_lesion_that_the_later_scan_does_not_show_is_not_gone(pairs):
    pair = pairs[1]
    last = int(pair.after.lesions.shape[0] * 0.45)
    scan = pair.after.scan.crop((0, 0, 0), (last, *pair.after.scan.shape[1:]))
    mask = pair.after.lesions.crop((0, 0, 0), (last, *pair.after.scan.shape[1:]))
    cut = Visit.of(measure(scan, mask.with_voxels(mask.voxels > 0)))
    states = [track.points[1].state for track in follow([pair.before, cut]).followup.tracks]
    assert "not_covered" in states
    assert states.count("gone") <= 2
