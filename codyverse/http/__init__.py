"""The edge inside Flask: what every operation of the API and every page shares."""
