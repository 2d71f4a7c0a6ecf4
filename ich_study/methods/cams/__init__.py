"""CAM benchmark: nine class activation maps at three depths, faithfulness, sanity."""
