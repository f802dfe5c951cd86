"""Terminal programs measured from outside, in a pseudo-terminal: what they write, how soon, and what CPU they take."""
