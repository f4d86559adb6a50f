"""What is true of CMU-MOSEI in whichever form it comes."""

from __future__ import annotations

__all__ = ["CMU_MOSEI"]

CMU_MOSEI = {
    "licence": "CMU-MultimodalSDK's terms for CMU-MOSEI",
    "citation": "Zadeh et al.: Multimodal language analysis in the wild, ACL 2018",
}
