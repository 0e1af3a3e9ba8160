#!/bin/sh
# Programs of others that tests hold DICOM results against, from Debian. A test whose program is missing skips.
set -eu
missing=""
for package in dicom3tools dcmtk orthanc orthanc-dicomweb plastimatch pixelmed-apps libpixelmed-java \
    chromium libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core iproute2 slurm-wlm munge; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
