"""From a mask to `Findings`: lungs, lesions, sizes, spread, and the metrics that compare masks."""
