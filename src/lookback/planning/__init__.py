"""Planning: read conf/, check every setting, and write the plans. No module here imports torch."""
