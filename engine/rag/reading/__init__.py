"""Documents of a corpus: from files of many kinds to cleaned text; what cannot be read is named and left out."""
