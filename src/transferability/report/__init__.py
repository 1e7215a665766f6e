"""What a result looks like: summary, report, plots, notebook display, trackers."""
