"""The mathematics of the reward model and PPO: pure functions on tensors, without I/O and without communication.

Tensors by token are [batch, length] and share one layout: column t belongs to the position that *predicts* response
token t, and so do its log-probability, its value, its reward and its place in `response_mask`. Masked positions (the
prompt, pads on either side, tool output amid a response) may hold anything, also NaN: nothing reads them.

Losses are sums over the tokens of a micro-batch, not means. The trainer divides by the number of response tokens of the
whole optimiser step, so that neither ranks nor micro-batches change a result.
"""
