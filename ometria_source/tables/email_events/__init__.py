"""`email_events`: the files of Ometria's self-serve data export, as one table."""
