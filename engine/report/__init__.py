"""One page on what experiments made of hallucination: the same content as HTML, Markdown and JSON."""
