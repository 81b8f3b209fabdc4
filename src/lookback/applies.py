"""What a probe or an explainer says of a model that it makes no sense for."""


class DoesNotApply(Exception):
    """Raised with the reason, one clause: «a transformer has no gates»."""
