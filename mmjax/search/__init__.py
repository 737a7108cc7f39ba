"""Search in a gallery of embeddings: exact, by blocks, over several devices, in float32 or with int8 codes; or approximate."""

from mmjax.search.approximate import Approximate
from mmjax.search.exact import Found, Resident, search
from mmjax.search.gallery import Gallery, open_gallery, write_gallery

__all__ = ["Approximate", "Found", "Gallery", "Resident", "open_gallery", "search", "write_gallery"]
