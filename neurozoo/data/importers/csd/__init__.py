"""CMU-MultimodalSDK's computational sequences (``.csd``), such as those of CMU-MOSEI."""
