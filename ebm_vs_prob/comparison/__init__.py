"""Trained models compared and handed on through ArviZ."""
