"""Answers by minimising an energy."""
