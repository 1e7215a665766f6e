"""What is in the files of a folder of results: the shapes that are checked on reading, and JSON Schemas are made of."""

from __future__ import annotations

from typing import Any

from transferability._schema import Shape

__all__ = ["DETAIL", "DETAILS", "ENTRY", "MADE", "PARTS", "RANKING", "RELATION"]

PARTS = ("test", "folds", "fit")
"""That results are measured on."""


def _optional(shape: dict[str, Any]) -> dict[str, Shape]:
    return {name if name.endswith("?") else f"{name}?": each for name, each in shape.items()}


_TERMS = {"reference_loss": float, "label_mismatch": float, "distribution_mismatch": float}
_ONE = {
    **_TERMS,
    "reference": str,
    "target": str,
    "bound": float,
    "transferred_loss": (float, None),
    "transferred_accuracy": (float, None),
    "transferability": (float, None),
    "transferability_accuracy": (float, None),
    "tau": float,
    "certified_tau": (float, None),
    "certified": bool,
    "certificate": str,
    "fit_bound": (float, None),
    "evaluated_on": str,
    "ground_cost": str,
    "solver": str,
    "seconds": float,
    "ridge": (float, None),
    "exact_transport": bool,
    "tau_path": [[float, float]],
    "history": [float],
    "class_map": [int],
    "reference_classifier": {"loss": float, "accuracy": float, "converged": bool, "gap?": (float, None)},
    "per_class": [
        {
            **_TERMS,
            "target_class": str,
            "reference_class": (str, None),
            "prior": float,
            "alternative_class?": (str, None),
            "margin?": (float, None),
            "margin_error?": (float, None),
            "share_of_folds?": (float, None),
            "accuracy_lost_on_reference?": (float, None),
            "accuracy_lost_to_labels?": (float, None),
            "accuracy_lost_on_target?": (float, None),
        }
    ],
    "scale?": float,
    "accuracy_without_map?": (float, None),
    "chance?": (float, None),
    "log_n_classes?": float,
    "gap?": (float, None),
    "space?": str,
    "class_map_names?": {str: (str, None)},
    "pseudo_labels?": (None, [int]),
    "accuracy_lost?": (None, {"on_reference": float, "to_labels": float, "on_target": float}),
}
_STANDING = {
    "low": float,
    "high": float,
    "p_best?": (float, None),
    "value?": float,
    "confidence?": float,
    "method?": str,
    "n_rows?": int,
    "n_shared?": int,
}
_RELATEDNESS = {
    **_ONE,
    "panel?": [{**_optional(_ONE), "reference": str, "bound": float}],
    "nearest?": [{"target_class": str, "reference": str, "reference_class": str, "share": float}],
    "reference_chosen?": bool,
    "standing?": (None, _STANDING),
    "notes?": [str],
}
"""Of `Relatedness.to_dict()`; what a report needs is not optional."""
_DATA = {
    "role": str,
    "name": str,
    "fit_rows": int,
    "test_rows": int,
    "kind?": str,
    "folds?": int,
    "fingerprint?": str,
    "notes?": [str],
}
_RACE = {
    "first": int,
    "error": float,
    "quantity": str,
    "n_began?": int,
    "n_stayed?": int,
    "rounds": [{"n_rows": int, "n_encoders": int, "n_compared?": int, "why_not?": (str, None)}],
    "dropped": [
        {
            "encoder": str,
            "base_encoder?": str,
            "n_rows": int,
            "value": float,
            "rival": str,
            "rival_value": float,
            "p_value": float,
        },
    ],
    "items": int,
    "items_of_all": int,
    "items_are?": str,
    "by_default?": bool,
}
MADE = {
    "at": str,
    "machine": str,
    "versions": {str: str},
    "settings": {str: object},
    "estimator": {str: object},
    "data": [_DATA],
    "command?": str,
    "target?": str,
    "race?": _RACE,
    "interrupted?": {"done": int, "total": int},
}
_SHARED = {"schema": int, "made?": object}
_COST = {
    "items_per_second?": (float, None),
    "dimension?": (int, None),
    "input_size?": (str, None),
    "peak_memory?": (int, None),
    "licence?": (str, None),
    "load_seconds?": (float, None),
    "extraction_seconds?": (float, None),
    "fit_seconds?": (float, None),
}
_EXPECTED = {
    "value": float,
    "interval": [float, float],
    "low": float,
    "high": float,
    "n_pairs?": int,
    "n_targets?": int,
    "n_confirmed?": int,
    "measured?": bool,
}
_TUNED = {
    "encoder": str,
    "accuracy": (float, None),
    "probe_accuracy": (float, None),
    "epochs": int,
    "finished": bool,
    "learning_rate": (float, None),
    "seconds": float,
    "note": str,
    "ranked_as?": (str, None),
    "best_epoch?": (int, None),
    "interval?": (None, [float, float]),
}
ENTRY = {
    "encoder": str,
    "n_parameters": (int, None),
    "seconds": float,
    "scores": {str: float},
    "notes": {str: str},
    "cache_keys?": [{"data": str, "key": str}],
    "probe?": (None, {"accuracy": float, "loss": float}),
    "probe_rows?": (int, None),
    "fine_tunable?": (bool, None),
    "standing?": (None, _STANDING),
    "place?": int,
    "cost?": (None, _COST),
    "identifier?": (str, None),
    "base_encoder?": str,
    "layer?": (str, None),
    "model_hash?": (str, None),
    "intervals?": {str: (None, [float, float])},
    "on_front?": (bool, None),
    "different_rows?": (None, {"accuracy": float, "n_rows": int, "n_all": int}),
    "expected?": (None, _EXPECTED),
    "confirmed?": (None, {**_optional(_TUNED), "accuracy": (float, None), "interval": (None, [float, float])}),
    "relatedness": _RELATEDNESS,
}
_CONFIRMATION = {
    "target": str,
    "n_test": int,
    "n_different?": (int, None),
    "n_ranked?": (int, None),
    "rounds": [int],
    "best": (str, None),
    "in_words": str,
    "entries": [_TUNED],
}
_KNOWN = {"target": str, "encoder": str, "probe": float, "fine_tuned": float, "probe_rows": int, "rows": int}
RANKING = {
    **_SHARED,
    "target": str,
    "references": [str],
    "criterion": str,
    "ranking": [ENTRY],
    "quantity?": str,
    "fields?": [{"key": str, "title": str, "format": str, "higher_is_better": (bool, None), "explanation": str}],
    "columns?": [{"name": str, "higher_is_better": bool}],
    "skipped": [{"encoder": str, "reason": str}],
    "known?": (None, [_KNOWN]),
    "confirmation?": (None, _CONFIRMATION),
}
RELATION = {**_SHARED, "encoder": (str, None), "results": [_RELATEDNESS]}
_PLACE = [int, int]
_POINTS = {
    "grid": int,
    "reference": [_PLACE],
    "before": [_PLACE],
    "after": [_PLACE],
    "reference_classes": [int],
    "target_classes": [int],
}
DETAIL = {
    "points?": (None, _POINTS),
    "lookalikes?": [[[str, float]]],
    "class_accuracy?": (None, [(float, None)]),
    "target_samples?": {str: [object]},  # in a file keys of samples, in a study the samples themselves
    "reference_samples?": {str: [object]},
}
"""Of `VisualSummary.to_dict()`."""
_KEYS = {"target_samples?": {str: [str]}, "reference_samples?": {str: [str]}}
DETAILS = {"samples": {str: {str: str}}, "details": [(None, {**DETAIL, **_KEYS})]}
