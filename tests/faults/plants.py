"""What goes wrong in a run: functions that its process calls before it begins."""
