"""Decodes strangers' bytes by native code in processes of their own: a crash costs one file, not all.

`IsolatedReader` (`reader`) keeps such processes, `worker` is what runs in them, `messages` how they answer.
"""
