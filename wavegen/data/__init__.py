"""From recordings on disk to windows of codes. numpy only: torch meets the data in training/."""
