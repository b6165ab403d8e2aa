"""What a run has to show, one property a module; `check` gives a sentence for each violation."""
