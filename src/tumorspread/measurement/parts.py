"""The parts of the measured answer, as they stand in `findings.json` (docs/findings.md).

Every quantity carries its unit in its name. A number that could not be measured is None, and the `reasons` of
its object say why, by field name. World coordinates are LPS mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tumorspread.scan.volume import Shape, Triple

Side = Literal["left", "right"]
Zone = Literal["upper", "middle", "lower"]
Region = Literal["inner", "outer"]
Plane = Literal["axial", "coronal", "sagittal"]
Lobe = Literal["left_upper", "left_lower", "right_upper", "right_middle", "right_lower"]
Segment = tuple[Triple, Triple]
Reasons = dict[str, str]


@dataclass(frozen=True)
class ScanInfo:
    """The scan that was measured.

    Attributes:
        source: name of the file or folder, without its path.
        shape_zyx: voxels along (z, y, x) of the array as read.
        spacing_mm: distance between voxel centres along (z, y, x).
    """

    source: str
    shape_zyx: Shape
    spacing_mm: Triple


@dataclass(frozen=True)
class Origin:
    """What made these findings: software, the mask's source, the weights (None for a mask brought along).

    The operating point is that of the detection; None for weights that were not calibrated. `engine` is what computed
    the network, and in which precision: in bf16 a voxel at the rim may fall otherwise than in fp32. `stage_s` holds the
    seconds of each stage of a model's work, by name, in their order.
    """

    software: str
    mask_source: str
    weights: str | None = None
    weights_sha256: str | None = None
    threshold: float | None = None
    made_at: str | None = None
    operating_point: str | None = None
    engine: str | None = None
    stage_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LungPart:
    """A zone or a lobe of a lung.

    Attributes:
        kind: `zone`, a third of a lung by height, or `lobe`.
        name: `left_upper`, `left_middle`, `left_lower`, `right_upper`, ...; of a lobe as in `Lobe`.
        volume_ml: of lung within it, air and tissue.
    """

    kind: Literal["zone", "lobe"]
    name: str
    volume_ml: float


@dataclass(frozen=True)
class Lungs:
    """Volumes of the lungs, air and tissue within their outline, in mL; `parts` are zones and lobes."""

    left_ml: float | None
    right_ml: float | None
    total_ml: float | None
    reasons: Reasons = field(default_factory=dict)
    parts: tuple[LungPart, ...] = ()


@dataclass(frozen=True)
class Lesion:
    """One connected piece of the mask.

    A field that ends in `_error` is the half width of an interval about the field it is named after, from the size
    of the voxels alone, that holds the truth in 95 % of cases. How the outline was drawn is not part of it.

    Attributes:
        id: 1 for the largest; stable for a given mask.
        voxel_count: voxels of the mask in this piece.
        volume_ml: voxel count times voxel volume.
        long_axis_mm: longest diameter in an axial slice (RECIST 1.1).
        long_axis_ends_mm: its two ends, LPS mm.
        short_axis_mm: longest diameter at right angles to the long axis in the same slice.
        short_axis_ends_mm: its two ends, LPS mm.
        axial_slice: index of that slice along the array axis that runs nearest to head-foot.
        centroid_mm: centre of mass of the mask, LPS mm.
        side: the lung it lies in.
        lung_share_percent: its volume as a share of that lung's.
        mean_hu: mean of the scan inside the mask, padding below -1024 HU counted as -1024.
        flags: codes: `cut_by_scan_edge`, `outside_lungs`, `single_slice`, `too_coarse`.
        who_product_mm2: long axis times short axis (WHO 1979).
        mesh_volume_ml: volume of the half-level mesh (IBSI RNU0).
        surface_cm2: area of that mesh (IBSI C0JK).
        sphericity: 1 for a ball (IBSI QCFX).
        max_3d_mm: largest distance between two vertices of the mesh (IBSI L0JK).
        equivalent_diameter_mm: diameter of the ball of the same `volume_ml`.
        elongation: second principal axis over the first (IBSI Q3CK); 1 is round.
        flatness: third principal axis over the first (IBSI N17B); 1 is round.
        sd_hu: standard deviation of the HU inside the mask.
        p5_hu, p25_hu, median_hu, p75_hu, p95_hu: their percentiles.
        solid_percent: share of its voxels at or above -300 HU.
        ground_glass_percent: share of its voxels from -750 to below -300 HU.
        mass_g: sum over voxels of volume times density (HU + 1000) / 1000 g/mL.
        zone: third of its lung by height.
        region: `outer` within 20 mm of the outer surface of its lung, `inner` elsewhere.
        lobe: where a lobe mask was brought along.
        distance_to_pleura_mm: from its surface to the lung's surface at ribs and diaphragm; 0 where it touches.
        pleural_contact_cm2: area of its surface that touches there.
        distance_to_mediastinum_mm: from its surface to the lung's surface at the mediastinum; 0 where it touches.
        distance_to_pleura_mm_error, distance_to_mediastinum_mm_error: a step of the grid to which lungs are known.
        nearest_lesion_id: the lesion whose surface comes nearest.
        nearest_lesion_mm: the gap to it, surface to surface.
        recist_measurable: long axis of at least 10 mm, and of twice the slice distance where that is above 5 mm.
        longest_diameter_mm: longest diameter in an axial, coronal or sagittal plane, which T goes by.
        longest_diameter_plane: the plane that shows it.
        probability: that it is a tumour, as the model judges it after calibration.
        radiomics: IBSI features by name, where they were asked for.
    """

    id: int
    voxel_count: int
    volume_ml: float
    long_axis_mm: float
    long_axis_ends_mm: Segment
    short_axis_mm: float
    short_axis_ends_mm: Segment
    axial_slice: int
    centroid_mm: Triple
    side: Side | None
    lung_share_percent: float | None
    mean_hu: float | None
    flags: tuple[str, ...] = ()
    reasons: Reasons = field(default_factory=dict)
    volume_ml_error: float | None = None
    long_axis_mm_error: float | None = None
    short_axis_mm_error: float | None = None
    who_product_mm2: float | None = None
    mesh_volume_ml: float | None = None
    surface_cm2: float | None = None
    sphericity: float | None = None
    max_3d_mm: float | None = None
    equivalent_diameter_mm: float | None = None
    elongation: float | None = None
    flatness: float | None = None
    sd_hu: float | None = None
    p5_hu: float | None = None
    p25_hu: float | None = None
    median_hu: float | None = None
    p75_hu: float | None = None
    p95_hu: float | None = None
    solid_percent: float | None = None
    ground_glass_percent: float | None = None
    mass_g: float | None = None
    zone: Zone | None = None
    region: Region | None = None
    lobe: Lobe | None = None
    distance_to_pleura_mm: float | None = None
    pleural_contact_cm2: float | None = None
    distance_to_mediastinum_mm: float | None = None
    distance_to_pleura_mm_error: float | None = None
    distance_to_mediastinum_mm_error: float | None = None
    nearest_lesion_id: int | None = None
    nearest_lesion_mm: float | None = None
    recist_measurable: bool | None = None
    longest_diameter_mm: float | None = None
    longest_diameter_mm_error: float | None = None
    longest_diameter_plane: Plane | None = None
    probability: float | None = None
    radiomics: dict[str, float] | None = None


@dataclass(frozen=True)
class Burden:
    """All lesions together.

    Attributes:
        count: number of lesions.
        volume_ml: of all of them.
        lung_fraction_percent: volume of the lesions that are not outside the lungs over lung volume.
        sum_of_long_axes_mm: over all lesions.
        target_ids: RECIST 1.1 targets: the two longest measurable lesions, since the lungs are one organ.
        sum_of_target_axes_mm: sum of their long axes (RECIST 1.1 sum of diameters); None without a target.
    """

    count: int
    volume_ml: float
    lung_fraction_percent: float | None
    sum_of_long_axes_mm: float
    reasons: Reasons = field(default_factory=dict)
    target_ids: tuple[int, ...] = ()
    sum_of_target_axes_mm: float | None = None


@dataclass(frozen=True)
class SideBurden:
    """The lesions of one lung."""

    count: int
    volume_ml: float
    lung_fraction_percent: float | None
    reasons: Reasons = field(default_factory=dict)


@dataclass(frozen=True)
class PartBurden:
    """The lesions of one zone or lobe; a lesion counts whole where most of it lies.

    Attributes:
        kind: `zone` or `lobe`, as in `LungPart`.
        name: as in `LungPart`.
        count: number of lesions; None where one of this lung has no such place.
        volume_ml: of all of them; likewise.
        lung_fraction_percent: that over the volume of the part; None where it is larger than the part.
    """

    kind: Literal["zone", "lobe"]
    name: str
    count: int | None
    volume_ml: float | None
    lung_fraction_percent: float | None
    reasons: Reasons = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """How far the tumour reaches.

    Attributes:
        left: the lesions of the left lung; None where the lungs are unknown.
        right: those of the right lung; None where the lungs are unknown.
        sides_involved: number of lungs with a lesion, 0 to 2; None where the lungs are unknown.
        dominant_id: id of the largest lesion; None without lesions.
        dominant_share_percent: its share of the whole tumour volume.
        largest_distance_mm: between the centroids of the two lesions furthest apart; None below two lesions.
        mean_distance_to_dominant_mm: mean over the other lesions of the distance of their centroids to that of
            the dominant one; None below two lesions.
        parts: the lesions by zone and by lobe.
        zones_involved: zones with a lesion, 0 to 6; None where zones are unknown.
        lobes_involved: lobes with a lesion, 0 to 5; None where lobes are unknown.
        satellite_ids: the other lesions in the dominant one's lobe; None where lobes are unknown.
    """

    left: SideBurden | None
    right: SideBurden | None
    sides_involved: int | None
    dominant_id: int | None
    dominant_share_percent: float | None
    largest_distance_mm: float | None
    mean_distance_to_dominant_mm: float | None
    reasons: Reasons = field(default_factory=dict)
    parts: tuple[PartBurden, ...] = ()
    zones_involved: int | None = None
    lobes_involved: int | None = None
    satellite_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Stage:
    """What size and number of lesions alone propose for T and M1a.

    Attributes:
        edition: of the classification.
        t: category by size and by separate nodules of the same lung; None where it cannot be told.
        t_rule: the rule that fired, in words.
        t_possible: the categories that size plus and minus its error bar allow, in order.
        m: `M1a` with a nodule in the other lung, else None: this does not mean M0.
        m_rule: the rule that fired, in words.
        size_mm: longest diameter of the dominant lesion in an axial, coronal or sagittal plane, which T goes by.
        size_mm_error: its error bar.
        size_plane: the plane that shows it.
        caveat: what this proposal does not know.
    """

    edition: str
    t: str | None
    t_rule: str
    t_possible: tuple[str, ...]
    m: Literal["M1a"] | None
    m_rule: str
    size_mm: float | None
    size_mm_error: float | None
    caveat: str
    reasons: Reasons = field(default_factory=dict)
    size_plane: Plane | None = None
