"""The stages of the pipeline, one module each, in the words of the rules: each opens stores, calls, and writes."""
