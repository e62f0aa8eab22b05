"""CEM1.5M: about 1.5 million unlabelled electron micrographs, for training without labels. An entry only.

Published as one archive, ``cem1.5m.zip``. It is downloaded and verified, and stays an archive
(`helpers.datasets.archives.read_members` reads it): without labels there is no store to make of it.
"""

from pathlib import Path

from helpers.datasets.fetch import downloads_folder, fetch
from helpers.datasets.hashes import first_seen
from helpers.datasets.transfer import amount, remote_size, require_room

ARCHIVE = "cem1.5m.zip"
# HTTPS alone: the archive has no published hash to hold it to, so that its server must be known for what it is
URLS = ("https://ftp.ebi.ac.uk/empiar/world_availability/11035/data",)
PARAMETERS = {"confirm": False}
IMAGES = "about 1.5 million images"


def about() -> dict:
    """What the data set is, where it is from and on what terms; it has no classes."""
    return {
        "title": "CEM1.5M, unlabelled electron micrographs of many specimens",
        "classes": [],
        "excludes": {},
        "source": "https://www.ebi.ac.uk/empiar/EMPIAR-11035/",
        "licence": "CC0 1.0",
        "citation": "Conrad, Narayan (2023). Instance segmentation of mitochondria in electron microscopy images with "
        "a generalist deep learning model trained on a diverse dataset. Cell Systems 14(1), 58-71. "
        "doi:10.1016/j.cels.2022.12.006. Data: EMPIAR-11035, doi:10.6019/EMPIAR-11035",
    }


def source_hashes() -> dict[str, str]:
    """SHA-256 of the archive as it was when first seen here; empty before that, for none is published."""
    return first_seen(downloads_folder() / "cem1500k")


def archive() -> Path:
    """Where the archive is, or would be downloaded to."""
    return downloads_folder() / "cem1500k" / ARCHIVE


def prepare(
    progress: bool = True,
    *,
    confirm: bool = False,
    urls: tuple[str, ...] = URLS,
    tries: int = 4,
    delay: float = 1.0,
) -> None:
    """Download the archive (`archive`), if that is confirmed and there is room; there is no store.

    Parameters
    ----------
    progress, tries, delay
        As in `helpers.datasets.fetch.fetch`.
    confirm : bool
        That it is wanted, large as it is.
    urls : sequence of str
        Where the archive is published.

    Raises
    ------
    ValueError
        It is not there, and `confirm` is False: the message says how large it is, where the server tells.
    ConnectionError, OSError
        As `fetch`; too little room is found out before anything is downloaded.
    """
    if not archive().exists():
        size = _size(urls, tries, delay)
        if not confirm:
            told = amount(size) if size else "a length that the server does not tell"
            raise ValueError(
                f"cem1500k has no labels and is large: {IMAGES}, an archive of {told}, to {archive()}. If it is "
                "wanted, confirm it: confirm=True, in the notebook -p confirm True"
            )
        if size:
            require_room(archive().parent, size - _there())
    fetch({ARCHIVE: None}, urls, archive().parent, progress=progress, tries=tries, delay=delay)


def read(reduce: int, split: int, test: bool) -> dict[str, list]:
    """Nothing to train a segmentation on. Raises ValueError."""
    raise ValueError(f"cem1500k has no labels, so there is nothing to load; its images are in {archive()}")


def _size(urls, tries, delay):
    errors = []
    for url in urls:
        try:
            return remote_size(f"{url}/{ARCHIVE}", tries=tries, delay=delay)
        except ConnectionError as error:
            errors.append(str(error))
    raise ConnectionError(f"{archive()} is not there, and {'; '.join(errors)}. Check network and HTTPS_PROXY")


def _there():
    """Bytes that an interrupted download has already brought."""
    return max((part.stat().st_size for part in archive().parent.glob(".download.*.partial/*.part")), default=0)
