import pytest

from transferability import errors
from transferability.errors import MissingExtraError, TransferabilityError, nearest_names, require_extra

BUILT_IN = {"MissingExtraError": ImportError, "OutputError": OSError}


@pytest.mark.parametrize("name", [each for each in errors.__all__ if each.endswith("Error")])
def test_every_error_is_ours_and_a_built_in_too(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, TransferabilityError)
    assert issubclass(kind, BUILT_IN.get(name, ValueError)) or kind is TransferabilityError
    assert kind.__doc__


def test_nearest_names_first_then_all() -> None:
    assert nearest_names("logmee", ["nce", "logme"]) == "Did you mean 'logme'? Valid names: logme, nce."
    assert nearest_names("xyz", ["nce", "logme"]) == "Valid names: logme, nce."
    many = [f"model{number:03}" for number in range(100)]
    assert nearest_names("model01", many).startswith("Did you mean 'model0")
    assert "Valid names" not in nearest_names("model01", many)
    assert nearest_names("xyz", many) == ""


def test_an_extra_that_is_there_is_imported() -> None:
    assert require_extra("json.decoder", "json", "a test").JSONDecoder


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.inner", "json.no_such_module"])
def test_a_missing_extra_names_the_command(module: str) -> None:
    with pytest.raises(MissingExtraError, match=r"encoder 'timm:x' needs the package `.*no_such.*`") as caught:
        require_extra(module, "timm", "encoder 'timm:x'")
    assert "Install it: pip install 'transferability[timm]'" in str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_a_broken_package_is_not_called_missing(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_package.py").write_text("import a_need_of_its_own\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_need_of_its_own") as caught:
        require_extra("broken_package", "timm", "encoder 'timm:x'")
    assert not isinstance(caught.value, TransferabilityError)
