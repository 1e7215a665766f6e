"""Which column of a table is what: `#text=review,label=stars`, the same for CSV, Parquet and the hub's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transferability.errors import DatasetError, DatasetNameError, nearest_names

__all__ = ["ROLES", "Roles", "parse_roles", "require_column"]

ROLES = ("text", "image", "words", "label", "target", "tags")


@dataclass(frozen=True)
class Roles:
    """Columns by what they hold; each is a tuple, because pairs of texts and targets may take several.

    Attributes
    ----------
    text, image, words : tuple of str
        The items, exactly one of the three when a data set is made: texts (two columns for pairs), pictures, or the
        words of sentences.
    label : tuple of str
        Classes.
    target : tuple of str
        Numbers to predict, or 0 and 1 for several labels.
    tags : tuple of str
        The class of each of the `words`.
    within : str
        A folder, as seen from the table's, below which pictures may lie too; "" for none.
    """

    text: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    within: str = ""

    def checked(self, source: str, columns: Sequence[str]) -> Roles:
        """Return these roles once it is sure that each column is there and fits the others.

        Raises
        ------
        DatasetError
            If a column is missing or there twice, or if two roles exclude each other.
        """
        divided = {role: _divide(getattr(self, role), source, columns) for role in ROLES}
        roles = Roles(**divided, within=self.within)
        items = [role for role in ("text", "image", "words") if getattr(roles, role)]
        answers = [role for role in ("label", "target", "tags") if getattr(roles, role)]
        if len(items) != 1 or len(answers) > 1 or ("tags" in answers and items != ["words"]):
            got = ", ".join(items + answers) or "none"
            message = f"columns of {source} must be one of text, image and words, and at most one of label, target and "
            message += f"tags (of words); got {got}."
            raise DatasetNameError(message)
        for role, limit in (("text", 2), ("image", 1), ("words", 1), ("label", 1), ("tags", 1)):
            if len(getattr(roles, role)) > limit:
                message = f"{role}= must name at most {limit} column{'s' * (limit > 1)} of {source}; got "
                message += f"{'+'.join(getattr(roles, role))}."
                raise DatasetNameError(message)
        if roles.words and answers and answers != ["tags"]:
            message = f"words of {source} must have tags, one per word, not {answers[0]}. Write tags=COLUMN."
            raise DatasetNameError(message)
        return roles


def parse_roles(fragment: str, usage: str) -> tuple[Roles, str]:
    """Read the text after the '#': `role=column` or `role=column+column`, separated by commas; a word picks rows.

    `within=FOLDER` is no column: it allows pictures below another folder than the table's.

    Parameters
    ----------
    fragment : str
        Without the '#'.
    usage : str
        What the user could have written, for messages: "csv:FILE".

    Returns
    -------
    roles : Roles
    rows : str
        The word that picks rows, those whose column `split` says it; "" for all.

    Raises
    ------
    DatasetError
        For an unknown role.
    """
    found: dict[str, tuple[str, ...]] = {}
    rows = within = ""
    for part in filter(None, fragment.split(",")):
        role, equals, column = part.partition("=")
        if not equals:
            rows = part
        elif role == "within":
            within = column
        elif role not in ROLES:
            message = f"columns are chosen as {usage}#text=COLUMN,label=COLUMN; got {part!r}. "
            message += nearest_names(role, (*ROLES, "within"))
            raise DatasetNameError(message)
        else:
            found[role] = (column,)
    return Roles(**found, within=within), rows


def require_column(name: str, source: str, columns: Sequence[str]) -> None:
    """Raise `DatasetError` unless a column is there, once."""
    if name not in columns:
        message = f"{source} has no column {name!r}. {nearest_names(name, columns)}"
        raise DatasetNameError(message)
    if columns.count(name) > 1:
        message = f"{source} has {columns.count(name)} columns {name!r}. Rename all but one."
        raise DatasetError(message)


def _divide(names: tuple[str, ...], source: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Divide `a+b` into columns, unless one column is called that; each must be there, once."""
    divided = [part for name in names for part in ([name] if name in columns else name.split("+"))]
    for name in divided:
        require_column(name, source, columns)
    return tuple(divided)
