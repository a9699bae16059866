"""What holds for all tests: shapes in signatures are checked at run time, and torch has one thread.

The hook comes before everything else, as it must be there when a module that it checks is imported first.
"""

from jaxtyping import install_import_hook

CHECKED = ("dacs.types", "dacs.adaptation", "dacs.models", "dacs.training", "dacs.evaluation")
install_import_hook(CHECKED, "beartype.beartype")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data of gta5 and cityscapes, a few tiny images each. Read only."""
    return tiny.prepare(tmp_path_factory.mktemp("data"))


@pytest.fixture
def no_settings_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates but those that a test names."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
