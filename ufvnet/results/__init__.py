"""Evaluating methods: evaluation (resolved once) → methods → scoring → statistics → tables, figures, report."""
