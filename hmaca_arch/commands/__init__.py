"""The commands of `basicsr`: command lines in, one call below."""
