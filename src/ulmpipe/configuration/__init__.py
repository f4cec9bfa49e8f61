"""The configuration: what every value is, what it may be, and one clear line when it is not."""

from ulmpipe.configuration.checks import check_configuration, check_graph_files, load_configuration, read_yaml
from ulmpipe.configuration.sections import Configuration

__all__ = ["Configuration", "check_configuration", "check_graph_files", "load_configuration", "read_yaml"]
