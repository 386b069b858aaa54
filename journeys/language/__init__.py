"""The definition language: model, YAML source, conditions, problems and diagram."""
