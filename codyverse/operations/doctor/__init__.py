"""`flask doctor`: whether a deployment is as it should be, said by many small checks in groups (report row R26).

A check knows one thing that should be so, why, and how to mend it; it changes nothing, and has a time within which it answers.
What it finds is ok; a warning, which deserves a look; or a fault, which has to be mended. Domains add checks of their own.
"""
