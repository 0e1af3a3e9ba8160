"""Archives that speak DICOMweb (DICOM PS3.18): found by QIDO-RS, fetched by WADO-RS, stored into by STOW-RS."""
