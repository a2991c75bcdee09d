"""Names of licences: from a link, a name or a phrase to one identifier, in the manner of SPDX but in small letters."""
