"""Photo programs that plug-ins are brought for: their folders, and our files in them.

`catalog` says which there are, `places` where a user's folders lie, `plan` what is written, `receipts` what
was, `installation` writes, compares and removes it, and `checks` tries what can be tried without the host.
"""
