"""Where what is shipped comes from: imports, licences, advisories, secrets, parts lists, linters. `make audit`."""
