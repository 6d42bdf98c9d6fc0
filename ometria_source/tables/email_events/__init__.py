"""`email_events`: sends, opens, clicks and the like, from the files of Ometria's self-serve data export."""
