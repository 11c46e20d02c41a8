"""The control API under `/sim`: what tests, scripts and the phone use to run the local Twilio."""
