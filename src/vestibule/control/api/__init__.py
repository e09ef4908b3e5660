"""The control plane's HTTP interface, one file per resource."""
